"""Read ``splits_final.json``: the training and validation cases of each fold."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.nnunet_folders import SPLITS


class FoldCases(NamedTuple):
    """The cases of a fold, sorted."""

    train: tuple[str, ...]
    val: tuple[str, ...]

    @classmethod
    def of(cls, entry: object) -> "FoldCases | None":
        """Return the cases in an entry of the file, or in a note of the same form; None where it has another form."""
        if not isinstance(entry, Mapping):
            return None
        sides = [entry.get(side) for side in ("train", "val")]
        if not all(isinstance(side, list | tuple) and all(isinstance(case, str) for case in side) for side in sides):
            return None
        train, val = (tuple(sorted(side)) for side in sides if side is not None)
        return cls(train, val)

    def to_mapping(self) -> dict[str, list[str]]:
        """Return plain values for JSON and checkpoints."""
        return {"train": list(self.train), "val": list(self.val)}


def read_split(folder: Path) -> list[FoldCases] | None:
    """Read the folds of a dataset; None where there is no split yet.

    Args:
        folder: of the dataset, preprocessed or raw.

    Raises:
        InputError: the file is damaged.
    """
    file = folder / SPLITS
    if not file.is_file():
        return None
    content = read_json(file)
    folds = [FoldCases.of(entry) for entry in content] if isinstance(content, list) else [None]
    if None in folds:
        msg = f'{file}: expected a list of folds with "train" and "val"; make it with resunet-ds splits --overwrite'
        raise InputError(msg)
    return [fold for fold in folds if fold is not None]


def fold_of_split(folder: Path, fold: int | str) -> FoldCases | None:
    """Return the cases of a fold in the present split; None where there is no split, or not this fold."""
    folds = read_split(folder) or []
    return folds[int(fold)] if str(fold).isdigit() and int(fold) < len(folds) else None


def split_notes(folder: Path, cases: Collection[str]) -> list[str]:
    """Return a line about training cases that are in no fold, and one about cases in folds that the dataset lacks.

    Args:
        folder: of the dataset, preprocessed or raw.
        cases: its training cases.
    """
    folds = read_split(folder)
    if folds is None:
        return []
    named = {case for fold in folds for side in fold for case in side}
    differences = {
        "no fold has {} of the training cases": set(cases) - named,
        "its folds have {} cases that are not in the dataset": named - set(cases),
    }
    return [
        f"{folder / SPLITS}: {what.format(len(found))}, such as {min(found)}; make it again with resunet-ds splits "
        "--overwrite, and train all folds again"
        for what, found in differences.items()
        if found
    ]


def noted_cases(note: Mapping[str, Any]) -> FoldCases | None:
    """Return the cases that a checkpoint or the record of a fold notes; None where it notes none."""
    return FoldCases.of(note.get("cases"))
