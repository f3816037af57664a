"""What a metric is where a region is empty in the reference, in the prediction, or in both: a matter of convention."""

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class EmptyRegions:
    """A convention; Dice is 0 under any where one of the two is empty, because that is what it computes to."""

    name: str
    dice: float
    """Where both are empty; the lesion-wise Dice where there is no lesion that counts and no false one."""
    hd95: float
    """As `dice`."""
    one_sided_hd95: float | None
    """Where exactly one is empty; None: the protocol's penalty."""
    sensitivity: float
    """Where both are empty."""
    one_sided_sensitivity: float
    """Where the reference alone is empty."""


BRATS = EmptyRegions(name="brats", dice=1.0, hd95=0.0, one_sided_hd95=None, sensitivity=1.0, one_sided_sensitivity=0.0)
"""As all official scripts: nothing predicted where nothing is, is perfect; anything else is as bad as can be."""

NAN = EmptyRegions(
    name="nan",
    dice=math.nan,
    hd95=math.nan,
    one_sided_hd95=math.nan,
    sensitivity=math.nan,
    one_sided_sensitivity=math.nan,
)
"""As nnU-Net: what cannot be measured is not a number, and averages leave it out."""

EMPTY_REGIONS: Mapping[str, EmptyRegions] = {policy.name: policy for policy in (BRATS, NAN)}
