"""Write folds for nnU-Net: all cases of a patient in one fold, those with enhancing tumour spread evenly."""

import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from dataset_conversion.editions import EDITIONS, Edition
from dataset_conversion.staging import edition_of, read_manifest
from dataset_conversion.write import LABELS_TRAINING
from nnunet_resunet_ds.base.dataset_json import check_regions, has_tumour_regions
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import FILE_ENDING, read_json, visible_files, write_json
from nnunet_resunet_ds.base.images import read_labels
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, SPLITS, dataset_folder, datasets_with_id
from nnunet_resunet_ds.base.parallel import for_each, results_and_problems
from nnunet_resunet_ds.base.regions import ET
from nnunet_resunet_ds.base.setting_checks import check_whole_number

_HOLDOUT_TOLERANCE = 0.005
MAX_SEED = 2**32 - 1
"""Of numpy's generator."""
SEED = 12345
"""nnU-Net's own."""


@dataclass(frozen=True)
class SplitCase:
    """What matters of a training case here."""

    case_id: str
    patient: str
    enhancing: bool | None
    """Whether it has enhancing tumour; None in a dataset that does not label it, such as MEN-RT."""


@dataclass(frozen=True)
class Fold:
    """One entry of splits_final.json."""

    train: tuple[SplitCase, ...]
    val: tuple[SplitCase, ...]


def write_splits(
    dataset_id: int,
    *,
    folds: int = 5,
    holdout: float | None = None,
    seed: int = SEED,
    overwrite: bool = False,
    executor: Executor | None = None,
) -> tuple[list[Path], list[Fold]]:
    """Write ``splits_final.json`` for a converted dataset, where nnU-Net reads it.

    Args:
        dataset_id: of a dataset in ``$nnUNet_raw``.
        folds: of the cross-validation.
        holdout: share of cases to hold out in a single split instead; 0.2 is one of five folds, as are its neighbours.
        seed: of the shuffle.
        overwrite: replace an existing file.
        executor: who reads the label maps; None is a thread for each core.

    Returns:
        The files written, in the raw dataset and, where it is there, in the preprocessed one; and the folds.

    Raises:
        InputError: no such dataset, too few patients, a split is there already, or settings out of range.
    """
    check_whole_number("the seed", seed, at_least=0, at_most=MAX_SEED)
    raw = dataset_folder("nnUNet_raw", dataset_id)
    files = [folder / SPLITS for folder in (raw, *datasets_with_id("nnUNet_preprocessed", dataset_id))]
    existing = [file for file in files if file.exists()]
    if existing and not overwrite:
        msg = f"{existing[0]}: is there already, and models may be trained on it; replace it with --overwrite"
        raise InputError(msg)
    made = make_folds(_cases(raw, executor), _n_folds(folds, holdout), seed=seed)
    if holdout is not None:
        made = made[:1]
    content = [{side: [case.case_id for case in getattr(fold, side)] for side in ("train", "val")} for fold in made]
    for file in files:
        write_json(content, file)
    return files, made


def make_folds(cases: Sequence[SplitCase], n_folds: int, *, seed: int = SEED) -> list[Fold]:
    """Deal cases onto folds: all of a patient in one, cases with enhancing tumour spread evenly.

    Raises:
        InputError: there are fewer patients than folds.
    """
    cases = sorted(cases, key=lambda case: case.case_id)
    patients = sorted({case.patient for case in cases})
    if len(patients) < n_folds:
        msg = (
            f"{len(patients)} patients are too few for {n_folds} folds; give fewer with --folds, or train with fold all"
        )
        raise InputError(msg)
    enhancing = [bool(case.enhancing) for case in cases]
    if max(Counter(enhancing).values()) < n_folds:  # too few of either kind to spread
        enhancing = [False] * len(cases)
    # Shuffled here, for the shuffling of older versions of scikit-learn, such as 1.3, undoes their stratification.
    rank = dict(zip(patients, np.random.default_rng(seed).permutation(len(patients)), strict=True))
    groups = [rank[case.patient] for case in cases]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a kind has fewer cases than there are folds
        indices = list(StratifiedGroupKFold(n_folds).split(cases, enhancing, groups))
    if any(len(val) == 0 for _, val in indices):  # where patients have very different numbers of time points
        indices = list(GroupKFold(n_folds).split(cases, groups=groups))
    return [Fold(tuple(cases[i] for i in train), tuple(cases[i] for i in val)) for train, val in indices]


def _n_folds(folds: int, holdout: float | None) -> int:
    if holdout is None:
        check_whole_number("the number of folds", folds, at_least=2)
        return folds
    if not (0 < holdout <= 0.5 and abs(1 / round(1 / holdout) - holdout) < _HOLDOUT_TOLERANCE):
        msg = f"the share to hold out must be one n-th of the cases, such as 0.2, 0.25 or 0.33; got {holdout}"
        raise InputError(msg)
    return round(1 / holdout)


def _cases(raw: Path, executor: Executor | None) -> list[SplitCase]:
    files = visible_files(raw / LABELS_TRAINING, FILE_ENDING)
    if not files:
        msg = f"{raw / 'labelsTr'}: no label maps; convert a training set first"
        raise InputError(msg)
    manifest = read_manifest(raw)
    edition = edition_of(manifest) if manifest else None
    work = partial(_case, edition=edition, with_et=_labels_enhancing_tumour(raw))
    cases, problems = results_and_problems(for_each(files, work, "read labels", executor))
    if problems:
        raise InputError("\n".join(problems))
    return cases


def patient_of(case_id: str, edition: Edition | None = None) -> str:
    """Return what the cases of a patient share, by the first edition whose ids tell it; else the case id itself.

    A dataset may have cases of another edition than it was made as, such as time points of GLI from 000 and from 100.

    Args:
        case_id: of the case.
        edition: of the dataset, where that is known.
    """
    known = [edition] if edition else []
    patients = (one.patient(case_id) for one in (*known, *EDITIONS.values()))
    return next(filter(None, patients), case_id)


def _labels_enhancing_tumour(raw: Path) -> bool:
    """Tell whether label 3 of a dataset is enhancing tumour; not where its regions are others than WT, TC and ET."""
    file = raw / DATASET_JSON
    if not file.is_file():
        return True
    content = read_json(file)
    try:
        check_regions(content)
    except InputError:
        return True  # plain labels, as of nnU-Net's script for BraTS 2024, which has the same values
    return has_tumour_regions(content)


def _case(file: Path, edition: Edition | None, *, with_et: bool) -> SplitCase:
    case_id = file.name.removesuffix(FILE_ENDING)
    labels = read_labels(file)[1]
    return SplitCase(case_id, patient_of(case_id, edition), bool(ET.mask(labels).any()) if with_et else None)
