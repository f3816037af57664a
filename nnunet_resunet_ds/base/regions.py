"""Define the regions WT, TC and ET by nnU-Net's label values. This module imports nothing of ours."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Tissue(IntEnum):
    """Label values in an nnU-Net dataset, the same as in nnU-Net's own BraTS 2021 script."""

    BACKGROUND = 0
    ED = 1
    """Peritumoral oedema."""
    NCR = 2
    """Necrotic and non-enhancing tumour core."""
    ET = 3
    """Enhancing tumour."""
    FURTHER = 4
    """The further tissue of an edition: the resection cavity (2024 GLI) or the cystic component (2024 PED)."""


@dataclass(frozen=True)
class Region:
    """A set of tissues that one sigmoid output of the network segments."""

    name: str
    long_name: str
    tissues: tuple[Tissue, ...]

    def mask(self, labels: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return the voxels of this region in ``labels`` (any shape, nnU-Net values) as bools of the same shape."""
        return np.isin(labels, self.tissues)


WT = Region("WT", "whole tumor", (Tissue.ED, Tissue.NCR, Tissue.ET))
TC = Region("TC", "tumor core", (Tissue.NCR, Tissue.ET))
ET = Region("ET", "enhancing tumor", (Tissue.ET,))
RC = Region("RC", "resection cavity", (Tissue.FURTHER,))
CC = Region("CC", "cystic component", (Tissue.FURTHER,))

REGIONS = (WT, TC, ET)
"""The network's outputs, in order."""

REGIONS_WITH_RC = (*REGIONS, RC)
"""2024 GLI: the resection cavity is outside WT."""

REGIONS_WITH_CC = (
    Region(WT.name, WT.long_name, (*WT.tissues, Tissue.FURTHER)),
    Region(TC.name, TC.long_name, (*TC.tissues, Tissue.FURTHER)),
    ET,
    CC,
)
"""2024 PED: the cystic component is part of WT and TC."""

REGIONS_CLASS_ORDER = (int(Tissue.ED), int(Tissue.NCR), int(Tissue.ET))
"""``regions_class_order`` of dataset.json for WT, TC, ET: the label of each; later regions paint over earlier ones."""


def regions_class_order(regions: tuple[Region, ...]) -> tuple[int, ...]:
    """Return the label that each region paints; a region after WT, TC and ET paints its own."""
    return (*REGIONS_CLASS_ORDER, *(int(region.tissues[0]) for region in regions[len(REGIONS) :]))
