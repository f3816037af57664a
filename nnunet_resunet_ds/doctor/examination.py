"""List what the doctor examines, and examine it."""

import contextlib
import importlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nnunet_resunet_ds.base.errors import first_line
from nnunet_resunet_ds.doctor import FAIL, Finding


@dataclass(frozen=True)
class Examination:
    """One thing to examine, and the function of this package that does it.

    Its module is imported only when it runs, so that a broken package does not stop the other examinations.
    """

    subject: str
    module: str
    function: str
    """It returns a finding, or several."""
    arguments: tuple[Any, ...] = ()


def examinations(
    dataset_id: int | None, model_folders: Sequence[Path], *, measure_speed: bool
) -> Iterator[Examination]:
    """Yield what is examined, in order."""
    yield Examination("software", "installation", "software")
    yield Examination("trainer", "installation", "trainer_search")
    yield Examination("nnU-Net", "nnunet_internals", "internals")
    yield Examination("folders", "data", "folders_for", (dataset_id,))
    yield Examination("hardware", "machine", "hardware")
    if measure_speed:
        yield Examination("speed, ten seconds", "machine", "speed")
    if dataset_id is not None:
        yield Examination(f"dataset {dataset_id}", "data", "dataset", (dataset_id,))
    for folder in model_folders:
        yield Examination(f"model {folder}", "data", "model", (folder,))


def examine(
    dataset_id: int | None = None, model_folders: Sequence[Path] = (), *, measure_speed: bool = True
) -> Iterator[Finding]:
    """Yield one finding after the other; an examination that breaks is a finding, too, and does not stop the others.

    Args:
        dataset_id: of a dataset to examine.
        model_folders: of models to examine, ``TRAINER__PLANS__CONFIGURATION``.
        measure_speed: also time convolutions for ten seconds, and on a CPU find the number format.
    """
    planned = list(examinations(dataset_id, model_folders, measure_speed=measure_speed))
    for examination in (bar := tqdm(planned, "doctor", leave=False, disable=None)):
        bar.set_postfix_str(examination.subject)
        yield from _findings(examination)


def _findings(examination: Examination) -> list[Finding]:
    """Return what an examination finds, or that it broke; what nnU-Net prints to standard output is dropped."""
    findings: list[Finding] = []
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            module = importlib.import_module(f"nnunet_resunet_ds.doctor.{examination.module}")
            found = getattr(module, examination.function)(*examination.arguments)
            for finding in [found] if isinstance(found, Finding) else found:
                findings.append(finding)
    except Exception as error:  # a broken installation may raise anything from anywhere
        text = f"could not be examined: {type(error).__name__}: {first_line(error)}"
        remedy = "install into a fresh environment; if the error stays, report it"
        findings.append(Finding(FAIL, examination.subject, text, remedy))
    return findings
