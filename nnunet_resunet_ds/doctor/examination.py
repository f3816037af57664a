"""Everything that the doctor looks at, one after the other."""

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from nnunet_resunet_ds.base.errors import first_line
from nnunet_resunet_ds.doctor.finding import FAIL, Finding

Look = Callable[[], Iterable[Finding]]


def examine(
    dataset_id: int | None = None, model_folders: Sequence[Path] = (), *, measure_speed: bool = True
) -> Iterator[Finding]:
    """Yield one finding after the other; a look that fails is a finding, too, and does not stop the others.

    Args:
        dataset_id: of a dataset to look at.
        model_folders: of models to look at, ``TRAINER__PLANS__CONFIGURATION``.
        measure_speed: also time convolutions for ten seconds.
    """
    looks: dict[str, Look] = {
        "software": _software,
        "trainer": _trainer,
        "nnU-Net": _internals,
        "folders": lambda: _folders(dataset_id),
        "hardware": _hardware,
    }
    if measure_speed:
        looks["speed, ten seconds"] = _speed
    if dataset_id is not None:
        looks[f"dataset {dataset_id}"] = lambda: _dataset(dataset_id)
    for folder in model_folders:
        looks[f"model {folder}"] = lambda folder=folder: _model(folder)  # type: ignore[misc]
    for subject, look in (bar := tqdm(looks.items(), "doctor", leave=False, disable=None)):
        bar.set_postfix_str(subject)
        yield from _findings(subject, look)


def _findings(subject: str, look: Look) -> list[Finding]:
    """Return what a look finds, or that it failed; nnU-Net prints to standard output what is not for here."""
    findings: list[Finding] = []
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            for finding in look():
                findings.append(finding)
    except Exception as error:  # a broken installation may raise anything from anywhere
        text = f"could not be looked at: {type(error).__name__}: {first_line(error)}"
        findings.append(Finding(FAIL, subject, text, "reinstall into a fresh environment; if it stays, report it"))
    return findings


# Each imports what it needs, so that an installation that is broken in one place can be looked at in the others.


def _software() -> Iterable[Finding]:
    from nnunet_resunet_ds.doctor.installation import software  # noqa: PLC0415

    return software()


def _trainer() -> Iterable[Finding]:
    from nnunet_resunet_ds.doctor.installation import trainer_search  # noqa: PLC0415

    return trainer_search()


def _internals() -> Iterable[Finding]:
    from nnunet_resunet_ds.doctor.nnunet_internals import internals  # noqa: PLC0415

    return [internals()]


def _folders(dataset_id: int | None) -> Iterable[Finding]:
    from nnunet_resunet_ds.doctor.data import folders, space_needed  # noqa: PLC0415

    return folders(None if dataset_id is None else space_needed(dataset_id))


def _hardware() -> Iterable[Finding]:
    from nnunet_resunet_ds.doctor.machine import gpu, processes, shared_memory  # noqa: PLC0415

    return gpu(), processes(), shared_memory()


def _speed() -> Iterable[Finding]:
    from nnunet_resunet_ds.doctor.machine import speed  # noqa: PLC0415

    return speed()


def _dataset(dataset_id: int) -> Iterable[Finding]:
    from nnunet_resunet_ds.doctor.data import dataset  # noqa: PLC0415

    return dataset(dataset_id)


def _model(folder: Path) -> Iterable[Finding]:
    from nnunet_resunet_ds.doctor.data import model  # noqa: PLC0415

    return [model(folder)]
