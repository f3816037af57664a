"""Say in numbers how sure a prediction is of each region of a case: by its probabilities in and around the region."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects

from nnunet_resunet_ds.base.regions import Region
from nnunet_resunet_ds.uncertainty.entropy import entropy

CERTAINTY = "certainty"
"""Of a case in ``run.json``: region → its numbers."""
EXPECTED = "expected_dice"
"""Of a region there, if tuning has taught what to expect."""
ENTROPY_INSIDE, ENTROPY_AROUND, DISAGREEMENT = "entropy_inside", "entropy_around", "fold_disagreement"
VOLUME_LIMITS = ("least_volume", "largest_volume")
"""Others of its numbers, as `RegionCertainty` names them."""
LEAST_PROBABILITY = 0.2
"""Voxels below this in every region do not count, unless they are labelled: the numbers are those of the box of the
others and what is around it. Tuning keeps this much of a case, so that it learns from the same numbers."""
AROUND = 3
"""Voxels that a step from face to face takes from a region: what is "around" it."""
LIKELY, POSSIBLE = 0.75, 0.25
"""Probabilities of the voxels that make the least and the largest volume."""

_DIGITS = 5

Probabilities = NDArray[np.floating]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class RegionCertainty:
    """What the probabilities say of one region of one case."""

    volume: float
    """Of the label map, mm³."""
    least_volume: float
    """Of the voxels with a probability of `LIKELY`, mm³; at most `volume`."""
    largest_volume: float
    """Of the voxels with a probability of `POSSIBLE`, mm³; at least `volume`."""
    entropy_inside: float | None
    """Mean over the region, in bits; None where the region is empty."""
    entropy_around: float | None
    """Mean over what is up to `AROUND` voxels outside the region; None where the region is empty."""
    peak: float
    """Highest probability of any voxel."""
    soft_dice: float
    """2 Σ p in the region / (its voxels + Σ p): the Dice that these probabilities, taken at their word, speak for."""
    fold_disagreement: float | None = None
    """1 − Dice of two folds on average, of probabilities instead of masks; None where it is not known, as of one fold,
    or of models with different numbers of them."""

    @property
    def stability(self) -> float:
        """Dice of the least and the largest volume, of which one holds the other; 1 where both are 0."""
        total = self.least_volume + self.largest_volume
        return 2 * self.least_volume / total if total else 1.0

    def to_mapping(self, expected_dice: float | None = None) -> dict[str, float]:
        """Return what is known, with the Dice to expect, for JSON."""
        known = {**asdict(self), EXPECTED: expected_dice}
        return {name: round(value, _DIGITS) for name, value in known.items() if value is not None}


def certainty_of_regions(
    labels: NDArray[np.integer],
    probabilities: Probabilities,
    regions: Sequence[Region],
    voxel_volume: float,
    over_folds: Probabilities | None = None,
    n_folds: int | None = None,
) -> dict[str, RegionCertainty]:
    """Return what the probabilities say of each region, by its name.

    Args:
        labels: (Z, Y, X) in nnU-Net's values, post-processed.
        probabilities: (R, Z, Y, X), of the regions in their order.
        regions: of the first outputs.
        voxel_volume: in mm³.
        over_folds: (R, Z, Y, X), the variance of probabilities over folds; None where it is not known.
        n_folds: that it is of, each of the same weight; None where they have different ones.
    """
    box = _box(labels, probabilities)
    within = labels[box]
    found = {}
    for channel, region in enumerate(regions):
        probability = probabilities[channel][box]
        certainty = _of_region(region.mask(within), probability, voxel_volume)
        if over_folds is not None and n_folds is not None:
            disagreement = fold_disagreement(probability, over_folds[channel][box], n_folds)
            certainty = replace(certainty, fold_disagreement=disagreement)
        found[region.name] = certainty
    return found


def fold_disagreement(mean: Probabilities, over_folds: Probabilities, n_folds: int) -> float:
    """Return 1 − the Dice of two folds, 2 Σ p q / Σ (p² + q²), sums over all pairs; 0 where all probabilities are 0.

    Mean and variance over folds tell all that this needs: the mean of p² is variance + mean², and the mean of p q over
    pairs is mean² − variance / (n − 1).

    Args:
        mean: over folds, any shape.
        over_folds: variance over them, the same shape.
        n_folds: two at least.
    """
    squares = float(np.square(mean, dtype=np.float64).sum())
    variance = float(over_folds.sum(dtype=np.float64))
    return n_folds / (n_folds - 1) * variance / (squares + variance) if squares + variance else 0.0


def _box(labels: NDArray[np.integer], probabilities: Probabilities) -> tuple[slice, ...]:
    return box_with_surroundings((probabilities.max(axis=0) >= LEAST_PROBABILITY) | (labels > 0))


def box_with_surroundings(mask: Mask) -> tuple[slice, ...]:
    """Return the box (Z, Y, X) of a mask and what is around it, as far as the image goes; one voxel of an empty one."""
    if not mask.any():
        return (slice(1),) * 3
    (box,) = find_objects(mask.view(np.uint8))
    return tuple(slice(max(side.start - AROUND, 0), side.stop + AROUND) for side in box)


def _of_region(mask: Mask, probability: Probabilities, voxel_volume: float) -> RegionCertainty:
    n_voxels, total = int(np.count_nonzero(mask)), float(probability.sum(dtype=np.float64))
    volume, least, largest = (
        voxel_volume * int(np.count_nonzero(voxels))
        for voxels in (mask, probability >= LIKELY, probability >= POSSIBLE)
    )
    uncertain = entropy(probability)
    around = binary_dilation(mask, iterations=AROUND) & ~mask
    inside = float(probability[mask].sum(dtype=np.float64))
    return RegionCertainty(
        volume=volume,
        least_volume=min(least, volume),
        largest_volume=max(largest, volume),
        entropy_inside=_mean(uncertain, mask),
        entropy_around=_mean(uncertain, around),
        peak=float(probability.max(initial=0)),
        soft_dice=2 * inside / (n_voxels + total) if n_voxels + total else 1.0,
    )


def _mean(values: NDArray[np.floating], mask: Mask) -> float | None:
    return float(values[mask].mean(dtype=np.float64)) if mask.any() else None
