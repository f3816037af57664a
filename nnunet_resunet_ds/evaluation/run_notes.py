"""Tell what run.json says of label maps that are scored: which command and weights made them, and of which cases."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from nnunet_resunet_ds.base.case_notes import MADE_WITH, WARNINGS, is_training_case
from nnunet_resunet_ds.base.run_file import MADE_BY, Runs, entries_of, read_runs
from nnunet_resunet_ds.evaluation.label_maps import LabelMaps


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


def weights_of(files: Iterable[Path]) -> list[str]:
    """Return the identities of the weights that made all of these label maps; none where that is not known of each."""
    files = list(files)
    known = _weights(files)
    return sorted(known[0]) if len(known) == len(files) and len(set(known)) == 1 else []


def models_warnings(source: Path, files: Iterable[Path]) -> Iterator[str]:
    """Yield a line where label maps of one folder were made by several models."""
    models = sorted(Counter(_weights(files)).values(), reverse=True)
    if len(models) > 1:
        yield (
            f"{source}: its label maps were made by {len(models)} models ({', '.join(map(str, models))} cases), as "
            "run.json says: a mean over them is of no system"
        )


def _weights(files: Iterable[Path]) -> list[frozenset[str]]:
    """Return the weights of each label map of which run.json notes them."""
    noted = [entry.get(MADE_WITH) for entry in entries_of(files).values()]
    return [frozenset(map(str, weights)) for weights in noted if isinstance(weights, list) and weights]
