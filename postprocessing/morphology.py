"""Opening and closing of a region: erosion and dilation in turn (paper section 5, decision D11)."""

import numpy as np
from scipy import ndimage

from postprocessing.membership import MEMBERSHIPS, Labels

_FACES = ndimage.generate_binary_structure(3, 1)


def open_region(labels: Labels, radius: int, name: str) -> Labels:
    """Return labels (Z, Y, X) in which what is too thin for a ball of this radius has left a region.

    Args:
        labels: in nnU-Net's values.
        radius: in voxels, counted along faces.
        name: of the region: ``wt``, ``tc`` or ``et``.
    """
    membership = MEMBERSHIPS[name]
    mask = membership.region.mask(labels)
    opened = ndimage.binary_opening(np.pad(mask, radius), _FACES, iterations=radius)
    left = mask & ~opened[_inside(radius)]
    return np.where(left, np.uint8(membership.left), labels)


def close_region(labels: Labels, radius: int, name: str) -> Labels:
    """Return labels (Z, Y, X) in which gaps too thin for a ball of this radius have entered a region.

    Only voxels of the tissue right around the region enter it; see `open_region` for the arguments.
    """
    membership = MEMBERSHIPS[name]
    mask = np.pad(membership.region.mask(labels), radius)
    closed = ndimage.binary_closing(mask, _FACES, iterations=radius)[_inside(radius)]
    entered = closed & (labels == membership.left)
    return np.where(entered, np.uint8(membership.entered), labels)


def _inside(margin: int) -> tuple[slice, slice, slice]:
    inner = slice(margin, -margin or None)
    return inner, inner, inner
