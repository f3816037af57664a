"""Check that the workers of a cluster can do the work, before any work is sent to them."""

import os
import platform
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from distributed import Client

from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.base.errors import InputError, first_line
from nnunet_resunet_ds.compute.environment import versions

_PACKAGE = "nnunet_resunet_ds"
_MAX_LINES = 5


def check_versions(client: Client) -> None:
    """Refuse workers with other versions of packages that decide results, or of Python and Dask.

    Raises:
        InputError: naming worker, package and both versions.
    """
    # Dask itself answers this: nothing of ours need be there, nor Python's version be the same.
    found = client.get_versions(packages=[_PACKAGE])
    here = {**found["client"]["packages"], "python": platform.python_version(), _PACKAGE: __version__}
    names = ("python", "dask", "distributed", _PACKAGE)
    there = {worker: answer["packages"] for worker, answer in found["workers"].items()}
    _refuse(_differences({name: here[name] for name in names}, there))
    try:
        of_workers = client.run(versions)
    except Exception as error:  # importing may raise all kinds of errors there
        msg = f"a worker cannot load {_PACKAGE}: {first_line(error)}; run resunet-ds doctor there"
        raise InputError(msg) from error
    _refuse(_differences(versions(), of_workers))


def check_resources(client: Client, scheduler: str, resources: Mapping[str, float]) -> None:
    """Refuse a cluster on which a task with these needs would never end.

    Raises:
        InputError: no worker offers them.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    if not any(all(worker["resources"].get(name, 0) >= n for name, n in resources.items()) for worker in workers):
        needs = " ".join(f"{name}={n:g}" for name, n in resources.items())
        msg = (
            f"--scheduler {scheduler}: no worker offers {needs}; start one for each GPU: CUDA_VISIBLE_DEVICES=0 "
            f"dask worker {scheduler} --nthreads 1 --resources {needs}"
        )
        raise InputError(msg)


def check_paths(client: Client, reads: Iterable[Path], writes: Iterable[Path]) -> None:
    """Refuse workers that do not see the same files, or cannot write where they must.

    Args:
        client: of the workers.
        reads: files and folders.
        writes: folders; of one that is not there yet, the one above that is.

    Raises:
        InputError: naming worker and path.
    """
    with ExitStack() as stack:
        there = [next(above for above in (folder, *folder.absolute().parents) if above.is_dir()) for folder in writes]
        probes = [str(stack.enter_context(_probe(folder)).absolute()) for folder in there]
        answers = client.run(out_of_reach, [str(path.absolute()) for path in reads], probes)
    _refuse(
        f"worker {worker}: {line}; paths must lead to the same files on every machine, as on a shared file system"
        for worker, lines in sorted(answers.items())
        for line in lines
    )


def out_of_reach(reads: Iterable[str], probes: Iterable[str]) -> list[str]:
    """Return, in a worker, a line for each path that cannot be read, and each folder of a probe not written to."""
    lines = [f"does not see {path}" for path in reads if not os.access(path, os.R_OK)]
    for probe in map(Path, probes):
        if not probe.is_file():
            lines.append(f"does not see what is written to {probe.parent}")
        elif not os.access(probe.parent, os.W_OK):
            lines.append(f"cannot write to {probe.parent}")
    return lines


@contextmanager
def _probe(folder: Path) -> Iterator[Path]:
    """Yield a file that was not there before: a folder of the same name elsewhere does not have it."""
    path = folder / f".{uuid.uuid4().hex}.seen"
    path.touch()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _refuse(lines: Iterable[str]) -> None:
    found = list(lines)
    if found:
        more = [f"and {len(found) - _MAX_LINES} more such lines"] if len(found) > _MAX_LINES else []
        raise InputError("\n".join([*found[:_MAX_LINES], *more]))


def _differences(here: Mapping[str, Any], workers: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for worker, there in sorted(workers.items()):
        for name, version in here.items():
            other = there.get(name)
            if _counts(name, other) != _counts(name, version):
                has = f"{name} {_counts(name, other)}" if other else f"no {name}"
                yield f"worker {worker}: has {has}, and here is {_counts(name, version)}; install the same there"


def _counts(name: str, version: str | None) -> str | None:
    """Return the part of a version that must be the same: of Python's, the part that decides how code is sent."""
    return ".".join(version.split(".")[:2]) if name == "python" and version else version
