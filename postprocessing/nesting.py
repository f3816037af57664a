"""What a voxel becomes that enters or leaves a region, and which voxels can enter."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.regions import ET, TC, WT, Region, Tissue

_N_LABELS = 256
"""Of a uint8 label map."""


@dataclass(frozen=True)
class Nesting:
    """A region, and the tissue that a voxel becomes when it enters or leaves the region."""

    region: Region
    channel: int
    """Of the probabilities."""
    entered: int
    around: int
    """The tissue around the region: only its voxels can enter, and what leaves becomes it, where nothing is below."""
    within: str | None = None
    """The region that is made of this one and the tissue around; None where the background is around."""
    below: Callable[[NDArray[np.floating]], NDArray[np.uint8]] | None = None
    """Of a region that is painted over others: probabilities (R, n) of voxels that leave → their labels (n,)."""

    @cached_property
    def is_inside(self) -> NDArray[np.bool_]:
        """Whether each label from 0 to 255 is of the region."""
        return np.isin(np.arange(_N_LABELS), self.region.tissues)


NESTINGS: Mapping[str, Nesting] = {
    WT.name: Nesting(WT, 0, entered=Tissue.ED, around=Tissue.BACKGROUND),
    TC.name: Nesting(TC, 1, entered=Tissue.NCR, around=Tissue.ED, within=WT.name),
    ET.name: Nesting(ET, 2, entered=Tissue.ET, around=Tissue.NCR, within=TC.name),
}
