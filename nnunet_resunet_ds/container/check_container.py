"""Try a container's folder here, without Docker: run its entry point on made-up cases, and look at what it wrote."""

import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from dataset_conversion.editions import Edition
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import FILE_ENDING, identity_of
from nnunet_resunet_ds.base.images import geometry_difference, read_image, read_labels
from nnunet_resunet_ds.container.confinement import (
    SHARED_MEMORY,
    Confinement,
    Limits,
    Run,
    confined,
    possible_confinement,
    run_confined,
)
from nnunet_resunet_ds.container.contract import (
    APPTAINER,
    DOCKERFILE,
    ENTRY_POINT,
    REMEDY,
    REQUIREMENTS,
    ContainerSettings,
    edition_of_container,
    read_settings,
)
from nnunet_resunet_ds.container.made_up_cases import MadeUpCase, make_up_cases
from nnunet_resunet_ds.doctor import FAIL, OK, WARN, Finding

_TAKEN_OVER = ("PATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
"""Variables that the entry point gets from here; HOME is none of them."""
_LINES_SHOWN = 5
"""Of what a failing entry point printed."""


def check_container(folder: Path, limits: Limits) -> Iterator[Finding]:
    """Run the entry point as a challenge does, and yield what was found, line by line.

    The code is that of the wheel in the folder; the packages that it needs are those of this environment.

    Args:
        folder: that `write_container` wrote.
        limits: of the run; its memory is not limited where there is a GPU.

    Raises:
        InputError: the folder is no container.
    """
    settings = read_settings(folder)
    edition = edition_of_container(settings.edition)
    yield from _files(folder, settings)
    with tempfile.TemporaryDirectory(prefix="resunet-ds-check-") as name:
        work = Path(name)
        cases = make_up_cases(work / "input", edition, settings.absent)
        before = _states(work / "input")
        grids = {case.case_id: read_image(next(iter(case.images.values()))) for case in cases}
        confinement, run = _run(folder, work, limits)
        yield from _on_confinement(confinement)
        yield from _on_run(run, limits, len(cases))
        for case in cases:
            yield _on_case(case, grids[case.case_id], edition, work / "output")
        yield _on_other_files(cases, edition, work / "output")
        yield _on_input(is_unchanged=_states(work / "input") == before)


def _files(folder: Path, settings: ContainerSettings) -> Iterator[Finding]:
    """Say whether all files are there."""
    wanted = [DOCKERFILE, APPTAINER, ENTRY_POINT, REQUIREMENTS, *settings.models]
    missing = [name for name in wanted if not (folder / name).exists()]
    if missing or not list(folder.glob("*.whl")):
        msg = f"{folder}: has no {', '.join(missing or ['wheel'])}; {REMEDY}"
        raise InputError(msg)
    n_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    yield Finding(OK, "files", f"all there, {n_bytes / 2**20:.0f} MiB, for {settings.edition}")


def _run(folder: Path, work: Path, limits: Limits) -> tuple[Confinement, Run]:
    """Run the entry point on the input below a folder, with the code of the wheel."""
    inputs, output, code = (work / name for name in ("input", "output", "code"))
    output.mkdir()
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(code)
    confinement = possible_confinement(inputs, output)
    entry = [sys.executable, str((folder / ENTRY_POINT).resolve()), str(inputs), str(output)]
    words = confined(confinement, entry, inputs, output, limits.memory_gib)
    variables = {name: os.environ[name] for name in _TAKEN_OVER if name in os.environ} | {"PYTHONPATH": str(code)}
    return confinement, run_confined(words, variables, work / "log.txt", limits.seconds)


def usual_limits(memory_gib: float, seconds: float) -> Limits:
    """Return the limits of a run on this machine; see `Limits`."""
    return Limits(memory_gib=None if torch.cuda.is_available() else memory_gib, seconds=seconds)


def _on_confinement(confinement: Confinement) -> Iterator[Finding]:
    if confinement.has_no_network:
        yield Finding(OK, "network", "none: a network namespace of its own")
    else:
        remedy = "try it where you may use 'unshare --net', such as on a machine of your own"
        yield Finding(WARN, "network", "was there: unshare is not allowed here", remedy)
    if confinement.is_read_only and confinement.writable:
        folders = ", ".join(confinement.writable)
        yield Finding(WARN, "file system", f"read-only, but {folders} could be written to: mounts of their own here")
    elif confinement.is_read_only:
        yield Finding(OK, "file system", f"read-only but for the output, no home, /dev/shm of {SHARED_MEMORY}")
    else:
        yield Finding(WARN, "file system", "could be written to: mounting is not allowed here; no home")


def _on_run(run: Run, limits: Limits, n_cases: int) -> Iterator[Finding]:
    """Say whether the run ended well, in time and memory."""
    last = "it last said: " + " / ".join(line.strip() for line in run.output.strip().splitlines()[-_LINES_SHOWN:])
    if run.code is None:
        yield Finding(FAIL, "time", f"was over after {limits.seconds:g} s; {last}", "give it more: --seconds")
        return
    yield Finding(OK, "time", f"{run.seconds:.0f} s for {n_cases} cases, the start included, of {limits.seconds:g} s")
    if run.code == 0:
        yield Finding(OK, "exit code", "0")
    else:
        remedy = "where it speaks of memory, give more with --memory; else correct what it names, and write it again"
        yield Finding(FAIL, "exit code", f"{run.code}; {last}", remedy)
    limit = "not limited, as there is a GPU" if limits.memory_gib is None else f"of {limits.memory_gib:g} GiB"
    yield Finding(OK, "memory", f"{run.peak_gib:.1f} GiB at most, {limit}")


def _on_case(case: MadeUpCase, grid: sitk.Image, edition: Edition, output: Path) -> Finding:
    """Say whether the label map of a case is what it should be, on the grid of its images."""
    file = output / _name(case, edition)
    problem, values = _problem_and_values(file, grid, edition)
    if problem:
        remedy = "see what 'exit code' said, or write the container again with a model of this edition"
        return Finding(FAIL, case.case_id, f"{problem} ({case.words})", remedy)
    return Finding(OK, case.case_id, f"{file.name}, values {', '.join(map(str, values))} ({case.words})")


def _name(case: MadeUpCase, edition: Edition) -> str:
    return f"{case.case_id}{edition.submission_suffix}{FILE_ENDING}"


def _problem_and_values(file: Path, grid: sitk.Image, edition: Edition) -> tuple[str | None, list[int]]:
    """Return what is wrong with a label map, if anything is, and its values."""
    if not file.is_file():
        return f"no {file.name} in the output", []
    try:
        image, labels = read_labels(file)
    except InputError as error:
        return str(error), []
    values = np.unique(labels).tolist()
    elsewhere = geometry_difference(image, grid)
    if elsewhere:
        return f"{file.name} lies elsewhere than its images: {elsewhere}", values
    unknown = sorted(set(values) - set(edition.tissues))
    if unknown:
        return f"{file.name} has values {unknown} that {edition.title} does not have", values
    return None, values


def _on_other_files(cases: Sequence[MadeUpCase], edition: Edition, output: Path) -> Finding:
    wanted = {_name(case, edition) for case in cases}
    others = sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.name not in wanted)
    if others:
        shown = ", ".join(others[:_LINES_SHOWN])
        return Finding(FAIL, "output", f"holds other things, too: {shown}", f"take the {ENTRY_POINT} as it was written")
    return Finding(OK, "output", "holds the label maps and nothing else")


def _on_input(*, is_unchanged: bool) -> Finding:
    return (
        Finding(OK, "input", "unchanged") if is_unchanged else Finding(FAIL, "input", "changed: it must only be read")
    )


def _states(folder: Path) -> dict[Path, str]:
    """Return what tells whether a folder has changed."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path: identity_of(path)["sha256"] for path in files}
