"""Read the Dice that nnU-Net's own validation of the folds left in a model folder."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.dataset_json import regions_of
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.model_id import fold_folder
from nnunet_resunet_ds.base.splits_file import FoldCases, noted_cases
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import SUMMARY, VALIDATION
from nnunet_resunet_ds.training.checkpoint.pretrained import Pretrained
from nnunet_resunet_ds.training.fold.fold_record import read_record
from nnunet_resunet_ds.training.fold.fold_validation import is_validated


def validation_scores(folder: Path, dataset_json: Mapping[str, Any], folds: Sequence[str]) -> dict[str, list[float]]:
    """Return region → Dice of each case that one of the folds was validated on; empty where there was no validation.

    A case is not a number where the region is neither there nor predicted. The fold ``all`` does not count: nnU-Net
    validates it on its training cases.

    Args:
        folder: of the model.
        dataset_json: a checked one.
        folds: which count.
    """
    own = [fold_folder(folder, fold) for fold in folds if fold.isdigit()]
    summaries = [fold / VALIDATION / SUMMARY for fold in own if is_validated(fold)]
    cases = [case for file in summaries for case in read_json(file)["metric_per_case"]]
    names = {frozenset(map(int, region.tissues)): region.name for region in regions_of(dataset_json)}
    found: dict[str, list[float]] = {name: [] for name in names.values()}
    for case in cases:
        for key, metrics in case["metrics"].items():
            found[names[_label_values(key)]].append(float(metrics["Dice"]))
    return found if cases else {}


def unmeasured_folds(folder: Path, folds: Sequence[str]) -> list[str]:
    """Return the folds whose cases are not among `validation_scores`, where there are any of the others."""
    own = [fold for fold in folds if fold.isdigit()]
    missing = [fold for fold in own if not is_validated(fold_folder(folder, fold))]
    return missing if len(missing) < len(own) else []


def n_training_cases(folder: Path, folds: Sequence[str]) -> int | None:
    """Return how many cases these folds were trained on, all together; None where one of them does not note it."""
    noted = _noted(folder, folds)
    return None if None in noted else len({case for cases in noted if cases for case in cases.train})


def n_seen_before(folder: Path, pretrained: Pretrained | None, folds: Sequence[str]) -> int:
    """Return how many validation cases of these folds the weights that they started from were trained on."""
    if pretrained is None:
        return 0
    return len(set(pretrained.cases) & {case for cases in _noted(folder, folds) if cases for case in cases.val})


def _noted(folder: Path, folds: Sequence[str]) -> list[FoldCases | None]:
    """Return the cases that each fold notes; None for one that notes none."""
    return [noted_cases(read_record(fold_folder(folder, fold))) for fold in folds]


def _label_values(key: str) -> frozenset[int]:
    """Return the label values of a region by its name in nnU-Net's summary: ``(1, 2, 3)`` or ``3``."""
    return frozenset(map(int, re.findall(r"\d+", key)))
