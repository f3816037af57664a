"""Tell which of the cases that are scored may have been in the training of the model: predict notes it in run.json."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from nnunet_resunet_ds.base.run_file import Runs, read_runs
from postprocessing.case import WARNINGS

TRAINING_CASE = "a training case?"
"""Kind of warning by which ``predict`` notes a case of the name of one that the model was trained on."""


def is_training_case(warnings: Iterable[str]) -> bool:
    """Tell whether one of the warnings about a case says that the model may have been trained on it."""
    return any(warning.startswith(TRAINING_CASE) for warning in warnings)


def training_cases(files: Mapping[str, Path]) -> list[str]:
    """Return the cases that may be training cases of the model, by the run.json next to their label maps.

    Args:
        files: case → its predicted label map.
    """
    runs = {folder: read_runs(folder) for folder in {file.parent for file in files.values()}}
    return [case for case, file in files.items() if is_training_case(_warnings(runs[file.parent], file))]


def training_cases_line(n: int, n_scored: int) -> str:
    """Return what is to be said where ``n`` of the cases that are scored may be training cases; "" where none is."""
    if not n:
        return ""
    which = f"{n} of {n_scored} cases may be training cases" if n_scored > 1 else "this case may be a training case"
    what = "do not say how it does on new ones"
    return f"{which} of the model (run.json): these scores {what}"


def _warnings(runs: Runs | None, file: Path) -> list[str]:
    case = runs.case_of_file(file.name) if runs else None
    noted = runs.cases[case].get(WARNINGS) if runs is not None and case is not None else None
    return [str(warning) for warning in noted] if isinstance(noted, list) else []
