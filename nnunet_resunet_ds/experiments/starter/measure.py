"""Measure a packed model on the cases that each of its folds had not seen, without and with post-processing.

Where post-processing was tuned, each fold's cases are scored with settings tuned on those of the other folds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset_conversion.editions import EDITIONS
from dataset_conversion.label_conventions import LabelConvention
from nnunet_resunet_ds.base.model_id import FOLD
from nnunet_resunet_ds.evaluation import evaluate_case
from nnunet_resunet_ds.models.card import DICE, METRICS, WITH, WITHOUT, Score, Scores
from nnunet_resunet_ds.tuning.held_out import Tuning
from nnunet_resunet_ds.tuning.stored_case import CACHE, StoredCase, read_stored_case
from postprocessing import PostprocessingConfig, postprocess
from postprocessing.config import PRESETS

PROTOCOL = "brats2023-gli"
"""Whose rules count: a region that is empty in the reference scores 1 where none is predicted, and 0 else."""
_CONVENTION = LabelConvention.of(EDITIONS["2023-gli"])


@dataclass(frozen=True)
class CaseScores:
    """What one case reached."""

    fold: str
    case_id: str
    scores: Mapping[str, Mapping[str, Mapping[str, float]]]
    """`WITHOUT` or `WITH` → region → metric → value."""


def score_cases(folder: Path, tuning: Tuning) -> Iterator[CaseScores]:
    """Yield the scores of every case, with what tuning stored of it.

    Args:
        folder: of the model.
        tuning: its outcome, with a part for each fold.
    """
    for part in tuning.parts:
        settings = {
            WITHOUT: PRESETS["nnunet"],
            WITH: part.settings if tuning.is_worth_it else tuning.start,
        }
        for file in sorted((folder / CACHE / f"{FOLD}{part.name}").glob("*.npz")):
            case = read_stored_case(file)
            scores = {state: scores_of(case, config) for state, config in settings.items()}
            yield CaseScores(part.name, file.stem, scores)


def scores_of(case: StoredCase, config: PostprocessingConfig) -> dict[str, dict[str, float]]:
    """Return region → metric → value of one case under these settings, by the rules of `PROTOCOL`."""
    labels = postprocess(case.probabilities.astype(np.float32), config, case.voxel_volume)
    reference, prediction = (_CONVENTION.values_of(values) for values in (case.reference, labels))
    found = evaluate_case(reference, prediction, case.spacing, PROTOCOL)
    return {region: {metric: values[metric] for metric in METRICS} for region, values in found.items()}


def summarised(cases: Sequence[CaseScores]) -> Scores:
    """Return mean, least and most over all cases."""
    return {
        metric: {
            state: {
                region: _score([case.scores[state][region][metric] for case in cases])
                for region in cases[0].scores[state]
            }
            for state in (WITHOUT, WITH)
        }
        for metric in METRICS
    }


def fold_rows(cases: Sequence[CaseScores]) -> list[dict[str, Any]]:
    """Return for each fold its cases and their mean Dice, with post-processing."""
    rows = []
    for fold in dict.fromkeys(case.fold for case in cases):
        own = [case for case in cases if case.fold == fold]
        dice = {
            region: round(float(np.mean([case.scores[WITH][region][DICE] for case in own])), 4)
            for region in own[0].scores[WITH]
        }
        rows.append({"fold": fold, "n_cases": len(own), "cases": [case.case_id for case in own], DICE: dice})
    return rows


def _score(values: Sequence[float]) -> Score:
    return Score(*(round(float(value), 4) for value in (np.mean(values), min(values), max(values))))
