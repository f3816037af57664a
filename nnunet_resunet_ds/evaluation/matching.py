"""Match lesions one to one: no lesion is in two pairs, and the sum of the pairs' Dice is the largest possible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from nnunet_resunet_ds.evaluation.lesions import Lesions


@dataclass(frozen=True)
class LesionPairs:
    """Pairs of a reference lesion and a predicted one."""

    reference: NDArray[np.integer]
    """(n,), numbers of reference lesions, from 1."""
    prediction: NDArray[np.integer]
    """(n,), numbers of predicted lesions, from 1."""
    dice: NDArray[np.float64]
    """(n,), of each pair."""

    def __len__(self) -> int:
        return len(self.dice)

    def keeping(self, keep: NDArray[np.bool_]) -> LesionPairs:
        """Return the pairs for which ``keep`` (n,) is true."""
        return LesionPairs(self.reference[keep], self.prediction[keep], self.dice[keep])


def overlapping_pairs(reference: Lesions, prediction: Lesions) -> LesionPairs:
    """Return every pair of lesions that have voxels in common, however few; a lesion may be in several pairs."""
    both = (reference.labels > 0) & (prediction.labels > 0)
    n_numbers = len(prediction.sizes)
    codes, common = np.unique(
        reference.labels[both].astype(np.int64) * n_numbers + prediction.labels[both], return_counts=True
    )
    first, second = np.divmod(codes, n_numbers)
    return LesionPairs(first, second, 2 * common / (reference.sizes[first] + prediction.sizes[second]))


def unpaired_numbers(reference: Lesions, prediction: Lesions) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Return the numbers of the lesions that are in no pair of the best matching: false ones, and missed ones."""
    pairs = best_pairs(overlapping_pairs(reference, prediction))
    false = np.setdiff1d(np.flatnonzero(prediction.sizes), pairs.prediction)
    return false, np.setdiff1d(np.flatnonzero(reference.sizes), pairs.reference)


def best_pairs(pairs: LesionPairs, min_dice: float = 0.0) -> LesionPairs:
    """Choose the pairs of the best matching.

    Args:
        pairs: those that are possible, see `overlapping_pairs`.
        min_dice: pairs of a smaller Dice are not possible.
    """
    able = pairs.keeping(pairs.dice >= min_dice)
    rows, columns = (np.unique(numbers, return_inverse=True)[1] for numbers in (able.reference, able.prediction))
    gain = np.zeros((rows.max(initial=-1) + 1, columns.max(initial=-1) + 1))
    gain[rows, columns] = able.dice
    is_chosen = np.zeros(gain.shape, bool)
    is_chosen[linear_sum_assignment(gain, maximize=True)] = True
    return able.keeping(is_chosen[rows, columns])
