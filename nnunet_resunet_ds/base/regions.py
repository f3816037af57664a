"""Define the regions of BraTS by nnU-Net's label values. This module imports nothing of ours."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class _Label(IntEnum):
    """A label value. It equals the plain number, and no label of another kind: ED is 1, and so is GTV."""

    def __eq__(self, other: object) -> bool:
        return not self._is_of_another_kind(other) and int.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return self._is_of_another_kind(other) or int.__ne__(self, other)

    __hash__ = int.__hash__

    def _is_of_another_kind(self, other: object) -> bool:
        return isinstance(other, _Label) and type(other) is not type(self)


class Tissue(_Label):
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


class Target(_Label):
    """Label values in an nnU-Net dataset of radiotherapy planning (MEN-RT), which labels no tissues."""

    BACKGROUND = 0
    GTV = 1


def mask_of(labels: NDArray[np.integer], values: Iterable[int]) -> NDArray[np.bool_]:
    """Return where the labels (any shape) are among a few values: much faster than `numpy.isin`."""
    mask = np.zeros(labels.shape, bool)
    for value in values:
        mask |= labels == int(value)
    return mask


@dataclass(frozen=True)
class Region:
    """A set of tissues that one sigmoid output of the network segments."""

    name: str
    long_name: str
    tissues: tuple[int, ...]
    """Their label values: of `Tissue`, of `Target`, or those of a dataset of another kind."""

    def mask(self, labels: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return the voxels of this region in ``labels`` (any shape, nnU-Net values) as bools of the same shape."""
        return mask_of(labels, self.tissues)


WT = Region("WT", "whole tumor", (Tissue.ED, Tissue.NCR, Tissue.ET))
TC = Region("TC", "tumor core", (Tissue.NCR, Tissue.ET))
ET = Region("ET", "enhancing tumor", (Tissue.ET,))
RC = Region("RC", "resection cavity", (Tissue.FURTHER,))
CC = Region("CC", "cystic component", (Tissue.FURTHER,))
GTV = Region("GTV", "gross tumor volume", (Target.GTV,))

REGIONS = (WT, TC, ET)
"""The network's outputs, in order, for nearly all of BraTS."""

REGIONS_OF_RADIOTHERAPY = (GTV,)
"""MEN-RT."""

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


def regions_class_order(regions: Sequence[Region]) -> tuple[int, ...]:
    """Return the label that each region paints: the smallest that no later region has; later ones paint over it."""
    later = [{label for region in regions[number + 1 :] for label in region.tissues} for number in range(len(regions))]
    return tuple(min(set(map(int, region.tissues)) - taken) for region, taken in zip(regions, later, strict=True))


def begin_with_tumour_regions(regions: Sequence[Region], class_order: Sequence[int]) -> bool:
    """Tell whether the first regions are WT, TC and ET: each inside the one before, and painted 1, 2, 3.

    What is special to them (nested thresholds, the rules on enhancing tumour) is done only where they are.
    """
    first = [set(region.tissues) for region in regions[: len(REGIONS)]]
    nested = len(first) == len(REGIONS) and first[0] > first[1] > first[2]
    return nested and tuple(class_order[: len(REGIONS)]) == REGIONS_CLASS_ORDER
