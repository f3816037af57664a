"""Regions as label values."""

import numpy as np

from nnunet_resunet_ds.base.regions import Region
from postprocessing.volume import Labels
from postprocessing.voxels import Mask

Tissues = tuple[int, ...]
"""The label values of a region, ascending."""


def tissues_of(region: Region) -> Tissues:
    """Return the label values of a region as plain numbers."""
    return tuple(sorted(map(int, region.tissues)))


def mask_of(labels: Labels, tissues: Tissues) -> Mask:
    """Return where the labels (any shape) are among these values: much faster than `numpy.isin` for a few."""
    mask = np.zeros(labels.shape, bool)
    for tissue in tissues:
        mask |= labels == tissue
    return mask
