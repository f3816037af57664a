"""Warn where label maps seem to be on the wrong side: predictions as the reference, a download as the predictions."""

from collections.abc import Iterator
from pathlib import Path

from nnunet_resunet_ds.base.run_file import MADE_BY, Runs, read_runs
from nnunet_resunet_ds.evaluation.label_maps import LabelMaps


def origin_warnings(reference: LabelMaps, prediction: LabelMaps) -> Iterator[str]:
    """Yield a line where the reference was written by a command of ours, and one where the predictions were not made.

    Two raters may be compared, so neither is refused.
    """
    command = _made_by(reference)
    if command:
        yield f"{reference.source} was written by {command}; are -ref and -pred exchanged?"
    if prediction.of_release and not _made_by(prediction):
        name = next(iter(prediction.files.values())).name
        n = len(prediction.files)
        these = f"{n} label maps named as {name} are" if n > 1 else f"{name} is named as"
        yield f"{prediction.source}: {these} segmentations of a download, not predictions; is -pred right?"


def _made_by(maps: LabelMaps) -> str:
    """Return the command that made the first label map of which run.json says so; "" where it says so of none."""
    runs = {folder: read_runs(folder) for folder in sorted({path.parent for path in maps.files.values()})}
    made = (_command(runs[path.parent], path) for path in maps.files.values())
    return next(filter(None, made), "")


def _command(runs: Runs | None, path: Path) -> str:
    run = runs.of_file(path.name) if runs else None
    return str(run.get(MADE_BY, "")) if run else ""
