"""Find the surface of a mask as voxels: those that have a neighbour by a face outside the mask, as MedPy does."""

import numpy as np

from nnunet_resunet_ds.evaluation.dice import Mask


def voxel_surface(mask: Mask) -> Mask:
    """Return the voxels of a mask (3-D) that touch a voxel outside it by a face.

    What lies outside the array counts as outside the mask. The result has the shape of ``mask``.
    """
    padded = np.pad(mask, 1)
    inside = mask.copy()
    for axis in range(mask.ndim):
        for start in (0, 2):
            window = [slice(1, -1)] * mask.ndim
            window[axis] = slice(start, start + mask.shape[axis])
            inside &= padded[tuple(window)]
    surface: Mask = mask & ~inside
    return surface
