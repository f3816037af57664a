"""Tell which of the cases that are scored may have been in the training of the model: predict notes it in run.json."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from nnunet_resunet_ds.base.case_notes import WARNINGS
from nnunet_resunet_ds.base.run_file import entries_of

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
    noted = {file: entry.get(WARNINGS) for file, entry in entries_of(files.values()).items()}
    warnings = {file: map(str, lines) for file, lines in noted.items() if isinstance(lines, list)}
    return [case for case, file in files.items() if is_training_case(warnings.get(file, ()))]


def training_cases_line(n: int, n_scored: int) -> str:
    """Return what is to be said where ``n`` of the cases that are scored may be training cases; "" where none is."""
    if not n:
        return ""
    which = f"{n} of {n_scored} cases may be training cases" if n_scored > 1 else "this case may be a training case"
    what = "do not say how it does on new ones"
    return f"{which} of the model (run.json): these scores {what}"
