"""Erosion and dilation of a mask along faces, by shifting all of it at once."""

from collections.abc import Iterator

import numpy as np

from postprocessing.voxels import Mask


def eroded(mask: Mask, radius: int) -> Mask:
    """Return where a ball of the radius, counted along faces, fits.

    Args:
        mask: (Z, Y, X), false in the outermost voxels of each side.
        radius: in voxels.
    """
    flat = np.ascontiguousarray(mask).reshape(-1)
    for _ in range(radius):
        smaller = flat.copy()
        for step in _steps(mask):
            smaller[step:] &= flat[:-step]
            smaller[:-step] &= flat[step:]
        flat = smaller
    return flat.reshape(mask.shape)


def dilated(mask: Mask, radius: int) -> Mask:
    """Return what balls of the radius, counted along faces, cover that have their centre in the mask.

    Args:
        mask: (Z, Y, X). The outermost voxels of each side have to be false in the result, too: in the flattened mask
            they touch those of the other side.
        radius: in voxels.
    """
    flat = np.ascontiguousarray(mask).reshape(-1)
    for _ in range(radius):
        larger = flat.copy()
        for step in _steps(mask):
            larger[step:] |= flat[:-step]
            larger[:-step] |= flat[step:]
        flat = larger
    return flat.reshape(mask.shape)


def _steps(mask: Mask) -> Iterator[int]:
    """Yield how far the neighbours of a voxel are in the flattened mask: along x, y and z."""
    yield from (1, mask.shape[2], mask.shape[1] * mask.shape[2])
