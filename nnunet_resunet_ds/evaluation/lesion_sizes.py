"""Score large lesions by their outline, and small ones by whether they are found (MET 2026)."""

import math

import numpy as np
from scipy import ndimage

from nnunet_resunet_ds.evaluation.detection import f1
from nnunet_resunet_ds.evaluation.dice import Mask
from nnunet_resunet_ds.evaluation.lesions import Lesions, joint_box
from nnunet_resunet_ds.evaluation.matching import LesionPairs
from nnunet_resunet_ds.evaluation.measures import Measures
from nnunet_resunet_ds.evaluation.protocols import SizeRule


def size_scores(
    reference: Lesions,
    prediction: Lesions,
    pairs: LesionPairs,
    rule: SizeRule,
    voxel_volume: float,
    measures: Measures,
) -> dict[str, float]:
    """Score the lesions of one region by their sizes.

    A false lesion is one without a counterpart, of whatever size; it counts among the large and among the small ones.

    Args:
        reference: the lesions of one region.
        prediction: the same.
        pairs: of the best matching, see `best_pairs`.
        rule: which lesions are large, and which small ones are found.
        voxel_volume: in mm³.
        measures: of the surfaces of a pair.

    Returns:
        ``lesion_dice`` and ``lesion_NAME`` for each measure: the mean over large lesions and false ones, or not a
        number where no reference lesion is large. ``small_n_tp``, ``small_n_fn`` and ``small_f1``: not numbers where
        none is small.
    """
    is_there = reference.sizes > 0
    is_large = reference.sizes * voxel_volume >= rule.large_from
    n_false = int(np.count_nonzero(prediction.sizes)) - len(pairs)
    large = pairs.keeping(is_large[pairs.reference])
    n_large = int(np.count_nonzero(is_large & is_there))
    small = pairs.keeping(~is_large[pairs.reference])
    return {
        **_large_means(reference, prediction, large, measures, (n_large, n_false)),
        **_small_counts(small, rule, int(np.count_nonzero(is_there)) - n_large, n_false),
    }


def _large_means(
    reference: Lesions, prediction: Lesions, pairs: LesionPairs, measures: Measures, numbers: tuple[int, int]
) -> dict[str, float]:
    """Return the mean Dice and the mean of each measure; ``numbers``: of large reference lesions, and of false ones."""
    n_large, n_false = numbers
    if not n_large:
        return {"lesion_dice": math.nan, **{f"lesion_{name}": math.nan for name in measures}}
    masks = pair_masks(reference, prediction, pairs)
    n = n_large + n_false
    return {
        "lesion_dice": float(pairs.dice.sum()) / n,
        **{
            f"lesion_{name}": (sum(measure.of(*both) for both in masks) + measure.unmatched * (n - len(pairs))) / n
            for name, measure in measures.items()
        },
    }


def _small_counts(pairs: LesionPairs, rule: SizeRule, n_small: int, n_false: int) -> dict[str, float]:
    if not n_small:
        return dict.fromkeys(("small_n_tp", "small_n_fn", "small_f1"), math.nan)
    n_found = int(np.count_nonzero(pairs.dice >= rule.found_from))
    return {
        "small_n_tp": n_found,
        "small_n_fn": n_small - n_found,
        "small_f1": f1(n_found, n_false, n_small - n_found),
    }


def pair_masks(reference: Lesions, prediction: Lesions, pairs: LesionPairs) -> list[tuple[Mask, Mask]]:
    """Return the masks of both lesions of each pair, cut to the box around both."""
    reference_boxes, predicted_boxes = (ndimage.find_objects(lesions.labels) for lesions in (reference, prediction))
    masks = []
    for first, second in zip(pairs.reference.tolist(), pairs.prediction.tolist(), strict=True):
        box = joint_box(reference_boxes[first - 1], predicted_boxes[second - 1])
        masks.append((reference.labels[box] == first, prediction.labels[box] == second))
    return masks
