"""Connect to a Dask scheduler, check that its workers can do the work, and say what becomes of them."""

import logging
import os
import platform
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster
from distributed import TimeoutError as NoAnswerError
from distributed.cfexecutor import ClientExecutor
from distributed.scheduler import KilledWorker

from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.base.errors import InputError, SchedulerLostError, WorkerDiedError, first_line
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.compute.environment import versions

_PACKAGE = "nnunet_resunet_ds"
_MAX_LINES = 5
LOCAL = re.compile(r"local:([1-9]\d*)")
"""Starts that many processes here instead."""
_ADDRESS = re.compile(r"[a-z]+://.+")
SECONDS_TO_ANSWER = 20
"""For a scheduler, and then for its first worker."""


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


@contextmanager
def connected(
    scheduler: str,
    *,
    reads: Iterable[Path] = (),
    writes: Iterable[Path] = (),
    resources: Mapping[str, float] | None = None,
    verbose: bool = False,
) -> "Iterator[ClusterExecutor]":
    """Connect to a Dask scheduler, look whether its workers can do the work, and yield them as one executor.

    Args:
        scheduler: ``tcp://HOST:8786``, or ``local:N`` to start one with N processes here, for as long as this lasts.
        reads: files and folders that every worker must see.
        writes: folders in which every worker must be able to write.
        resources: that a worker must offer for each task, by name.
        verbose: show here what workers log of each case.

    Raises:
        InputError: no scheduler answers, it has no worker, none that offers the resources, or one with other versions
            or that does not see the files.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what goes wrong is said in our words
    with _client(scheduler) as client:
        check_resources(client, scheduler, resources or {})
        check_versions(client)
        check_paths(client, reads, writes)
        if verbose:
            client.forward_logging(LOG.name, logging.DEBUG)
        n_workers = len(client.scheduler_info(n_workers=-1)["workers"])
        LOG.info("%s: %d worker%s", scheduler, n_workers, "s" * (n_workers > 1))
        yield ClusterExecutor(client, scheduler, resources)


@contextmanager
def _client(scheduler: str) -> Iterator[Client]:
    """Yield the client of a scheduler that has a worker."""
    local = LOCAL.fullmatch(scheduler)
    if local is None:
        with _remote_client(scheduler) as client:
            yield client
        return
    n = int(local[1])
    quiet = {"dashboard_address": None, "silence_logs": logging.CRITICAL}
    with LocalCluster(n_workers=n, threads_per_worker=1, **quiet) as cluster, Client(cluster) as client:
        yield client


def _remote_client(scheduler: str) -> Client:
    if not _ADDRESS.fullmatch(scheduler):
        msg = f"--scheduler {scheduler}: is no address such as tcp://HOST:8786, nor local:N"
        raise InputError(msg)
    try:
        client = Client(scheduler, timeout=SECONDS_TO_ANSWER)
    except (OSError, ValueError, NoAnswerError) as error:
        msg = f"--scheduler {scheduler}: no Dask scheduler answers there; start it with: dask scheduler"
        raise InputError(msg) from error
    try:
        client.wait_for_workers(1, timeout=SECONDS_TO_ANSWER)
    except NoAnswerError as error:
        client.close()
        msg = f"--scheduler {scheduler}: has no worker; start some, on any machine: dask worker {scheduler}"
        raise InputError(msg) from error
    return client


class ClusterExecutor(ClientExecutor):
    """Runs tasks on the workers of a client.

    Where a worker dies, Dask gives its task to another worker. A task at which four workers have died raises
    `WorkerDiedError`. Without the scheduler every task raises `SchedulerLostError`.

    Args:
        client: connected.
        address: of the scheduler, for messages.
        resources: that a worker must offer for each task, by name, such as ``GPU=1``.
    """

    map = Executor.map  # Dask's own would raise its own errors

    def __init__(self, client: Client, address: str, resources: Mapping[str, float] | None = None) -> None:
        super().__init__(client, pure=False, resources=dict(resources or {}))
        self.client = client
        self.address = address

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 (as Executor's)
        """Have a worker call a function, by reference to its module, with arguments that are pickled."""
        theirs = super().submit(partial(task, *args, **kwargs))
        ours: Future[Any] = Future()
        ours.add_done_callback(lambda done: theirs.cancel() if done.cancelled() else None)
        theirs.add_done_callback(partial(self._settle, ours))
        return ours

    def _settle(self, ours: Future[Any], theirs: Future[Any]) -> None:
        if not ours.set_running_or_notify_cancel():
            return
        if theirs.cancelled():
            msg = f"the scheduler {self.address} is gone; start it again and run this again: finished cases are kept"
            ours.set_exception(SchedulerLostError(msg))
            return
        error = theirs.exception()
        if isinstance(error, KilledWorker):
            msg = "each worker that took it died; see the workers' logs, and whether their memory is enough"
            ours.set_exception(WorkerDiedError(msg))
        elif error is not None:
            ours.set_exception(error)
        else:
            ours.set_result(theirs.result())
