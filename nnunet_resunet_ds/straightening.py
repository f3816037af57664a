"""An orientation matrix whose axes are not at right angles, which ITK and nnU-Net refuse: the nearest rotation.

Rounding, and tools that write the matrix of an affine registration into the header, leave such an sform.
"""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

MAX_SHEAR = 1e-3
"""Largest cosine of the angle between two axes that is put right: 0.2 mm at the far end of a brain."""


def axes_of(sform: Matrix) -> Matrix | None:
    """Return the directions (3, 3), a column each, of the axes of an sform (3, 4); None where it gives an axis none."""
    lengths = np.linalg.norm(sform[:, :3], axis=0)
    if not np.isfinite(sform).all() or not lengths.all():
        return None
    axes: Matrix = sform[:, :3] / lengths
    return axes


def shear(axes: Matrix) -> float:
    """Return the largest cosine between two of three directions (3, 3), a column each; 0 is all at right angles."""
    return float(np.abs(np.triu(axes.T @ axes, 1)).max())


def nearest_rotation(axes: Matrix) -> Matrix:
    """Return the orthonormal directions that are nearest to three others (3, 3), mirrored where these are."""
    left, _, right = np.linalg.svd(axes)
    nearest: Matrix = left @ right
    return nearest


def straightened(sform: Matrix, spacing: NDArray[np.floating]) -> Matrix:
    """Return an sform (3, 4) in mm with the nearest axes that are at right angles, and the same first voxel.

    Args:
        sform: whose axes have a direction each.
        spacing: (3,) in mm.
    """
    rotation = nearest_rotation(sform[:, :3] / np.linalg.norm(sform[:, :3], axis=0))
    return np.column_stack([rotation * spacing, sform[:, 3]])
