"""Score whether lesions are found, each matched with one predicted lesion at most (BraTS 2026)."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.integrate import trapezoid

from nnunet_resunet_ds.evaluation.lesions import Lesions
from nnunet_resunet_ds.evaluation.matching import LesionPairs, best_pairs

THRESHOLDS: Sequence[float] = tuple(tenth / 10 for tenth in range(1, 11))
"""Of the Dice of a pair, for the area under F1; panoptica's steps."""


def f1(n_tp: int, n_fp: int, n_fn: int) -> float:
    """Return 2·TP / (2·TP + FP + FN), or not a number where there is no lesion at all."""
    total = 2 * n_tp + n_fp + n_fn
    return 2 * n_tp / total if total else math.nan


def detection(pairs: LesionPairs, reference: Lesions, prediction: Lesions) -> dict[str, float]:
    """Count the lesions that are found, false and missed.

    Args:
        pairs: all that overlap, see `overlapping_pairs`.
        reference: the lesions of one region.
        prediction: the same.

    Returns:
        ``n_tp``, ``n_fp``, ``n_fn`` and ``lesion_f1``, where any overlap counts, and ``lesion_f1_area``.
    """
    n_reference, n_prediction = (int(np.count_nonzero(lesions.sizes)) for lesions in (reference, prediction))
    n_tp = len(best_pairs(pairs))
    n_fp, n_fn = n_prediction - n_tp, n_reference - n_tp
    return {
        "n_tp": n_tp,
        "n_fp": n_fp,
        "n_fn": n_fn,
        "lesion_f1": f1(n_tp, n_fp, n_fn),
        "lesion_f1_area": f1_area(pairs, n_reference, n_prediction),
    }


def f1_area(pairs: LesionPairs, n_reference: int, n_prediction: int) -> float:
    """Return the area under F1 over the Dice that a pair needs, from 0 to 1.

    Lesions are matched again at each of `THRESHOLDS`. F1 is interpolated between them, and below the first it is that
    of the first. Not a number where there is no lesion at all.

    Args:
        pairs: all that overlap.
        n_reference: reference lesions.
        n_prediction: predicted lesions.
    """
    scores = []
    for threshold in THRESHOLDS:
        n_tp = len(best_pairs(pairs, threshold))
        scores.append(f1(n_tp, n_prediction - n_tp, n_reference - n_tp))
    return float(trapezoid([scores[0], *scores], x=[0.0, *THRESHOLDS]))
