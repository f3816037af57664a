"""What it means for a voxel of a label map to enter or leave a region. Labels are nnU-Net's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.regions import ET, TC, WT, Region, Tissue

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Membership:
    """A region, and the tissue that a voxel becomes which enters or leaves it."""

    region: Region
    channel: int
    """Of the probabilities."""
    entered: Tissue
    left: Tissue
    """Of the region around: a voxel can enter from there alone."""


MEMBERSHIPS = {
    "wt": Membership(WT, 0, entered=Tissue.ED, left=Tissue.BACKGROUND),
    "tc": Membership(TC, 1, entered=Tissue.NCR, left=Tissue.ED),
    "et": Membership(ET, 2, entered=Tissue.ET, left=Tissue.NCR),
}
"""By the names that settings begin with."""
