"""Count the overlap of two masks: Dice, sensitivity, specificity, and their values where a region is empty."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.regions import REGIONS, Region

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class EmptyRegions:
    """The values of metrics where a region is empty; Dice is always 0 where only one of the two is empty."""

    name: str
    dice: float
    """Where both are empty, also of NSD; the lesion-wise Dice where there is no lesion that counts and no false one."""
    hd95: float
    """As `dice`."""
    one_sided_hd95: float | None
    """Where exactly one is empty; None: the protocol's penalty."""
    sensitivity: float
    """Where both are empty."""
    one_sided_sensitivity: float
    """Where the reference alone is empty."""


BRATS = EmptyRegions(name="brats", dice=1.0, hd95=0.0, one_sided_hd95=None, sensitivity=1.0, one_sided_sensitivity=0.0)
"""As all official scripts: if both are empty, the score is perfect; if one is empty, it is the worst possible."""

BRATS_2026 = EmptyRegions(
    name="brats2026",
    dice=math.nan,
    hd95=math.nan,
    one_sided_hd95=None,
    sensitivity=math.nan,
    one_sided_sensitivity=0.0,
)
"""As BraTS-evaluation: where both are empty, nothing is scored; if one is empty, it is the worst possible."""

NAN = EmptyRegions(
    name="nan",
    dice=math.nan,
    hd95=math.nan,
    one_sided_hd95=math.nan,
    sensitivity=math.nan,
    one_sided_sensitivity=math.nan,
)
"""As nnU-Net: where nothing can be measured the value is not a number, and averages leave it out."""

EMPTY_REGIONS: Mapping[str, EmptyRegions] = {policy.name: policy for policy in (BRATS, BRATS_2026, NAN)}


@dataclass(frozen=True)
class Overlap:
    """The voxel counts of two masks: of each, in common, and of the whole image."""

    reference: int
    prediction: int
    common: int
    image: int

    def dice(self, empty: EmptyRegions = BRATS) -> float:
        """Return 2|A∩B| / (|A|+|B|)."""
        total = self.reference + self.prediction
        return 2 * self.common / total if total else empty.dice

    def sensitivity(self, empty: EmptyRegions = BRATS) -> float:
        """Return the part of the reference that is predicted."""
        if self.reference:
            return self.common / self.reference
        return empty.one_sided_sensitivity if self.prediction else empty.sensitivity

    def specificity(self) -> float:
        """Return the part of the voxels outside the reference that is not predicted; 0 where no voxel is outside."""
        outside = self.image - self.reference
        return (outside - (self.prediction - self.common)) / outside if outside else 0.0


def overlap(reference: Mask, prediction: Mask, image_voxels: int | None = None) -> Overlap:
    """Count the voxels of two masks of one shape; give ``image_voxels`` where they are cut from a larger image."""
    n_reference, n_prediction, n_common = (
        int(np.count_nonzero(mask)) for mask in (reference, prediction, reference & prediction)
    )
    return Overlap(n_reference, n_prediction, n_common, reference.size if image_voxels is None else image_voxels)


def dice(reference: Mask, prediction: Mask) -> float:
    """Return 2|A∩B| / (|A|+|B|); 1 if both are empty, so 0 if one of them is."""
    return overlap(reference, prediction).dice()


def region_dice(
    reference: NDArray[np.integer], prediction: NDArray[np.integer], regions: Sequence[Region] = REGIONS
) -> dict[str, float]:
    """Return the Dice of each region between two label maps of one shape, in nnU-Net's values.

    Args:
        reference: any shape.
        prediction: the same shape.
        regions: of the dataset, see `regions_of`; WT, TC and ET unless others are given.
    """
    return {region.name: dice(region.mask(reference), region.mask(prediction)) for region in regions}


def mean_region_dice(cases: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Average `region_dice` over cases, all of the same regions."""
    rows = list(cases)
    return {region: float(np.mean([row[region] for row in rows])) for region in rows[0]}
