"""Measure the normalised surface Dice (NSD): how much of two surfaces lies within a tolerance of each other."""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.evaluation.dice import Mask
from nnunet_resunet_ds.evaluation.hausdorff import box_around
from nnunet_resunet_ds.evaluation.voxel_surface import voxel_surface

Offset = tuple[int, ...]

_ROUNDING = 1e-6
"""Relative: spacings come from float32 headers, and a distance of exactly the tolerance counts as within it."""


class SurfaceDice:
    """Measures the normalised surface Dice in images of one spacing.

    It is the mean of two parts: of the reference's surface voxels, and of the prediction's. So both surfaces weigh the
    same, whatever their size, as in the scripts of BraTS 2025 and in panoptica. DeepMind's surface Dice pools both
    surfaces and weights by area, and is another number.

    Args:
        spacing: in mm, in axis order.
        tolerance: in mm; a surface voxel whose nearest voxel of the other surface is at most so far away agrees.
    """

    def __init__(self, spacing: Sequence[float], tolerance: float) -> None:
        self._offsets = list(offsets_within(spacing, tolerance))
        self._reach = tuple(np.abs(self._offsets).max(axis=0).tolist())

    def __call__(self, reference: Mask, prediction: Mask) -> float:
        """Return the mean part that agrees, from 0 to 1; both masks are of one shape and not empty."""
        box = box_around(reference | prediction)
        first, second = (voxel_surface(mask[box]) for mask in (reference, prediction))
        return (self._part_near(first, second) + self._part_near(second, first)) / 2

    def _part_near(self, surface: Mask, other: Mask) -> float:
        """Return the part of a surface's voxels that have one of the other within the tolerance."""
        padded = np.pad(other, [(reach, reach) for reach in self._reach])
        near = np.zeros_like(surface)
        for offset in self._offsets:
            near |= _moved(padded, offset, self._reach, surface.shape)
        return int(np.count_nonzero(near & surface)) / int(np.count_nonzero(surface))


def offsets_within(spacing: Sequence[float], tolerance: float) -> Iterator[Offset]:
    """Yield the steps in voxels, (0, 0, 0) among them, that are at most ``tolerance`` mm long.

    Args:
        spacing: in mm, in axis order.
        tolerance: in mm, not negative.
    """
    limit = tolerance * (1 + _ROUNDING)
    reaches = [int(limit / length) for length in spacing]
    for offset in product(*(range(-reach, reach + 1) for reach in reaches)):
        if np.linalg.norm(np.multiply(offset, spacing)) <= limit:
            yield offset


def _moved(padded: Mask, offset: Offset, reach: Offset, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask moved by an offset, cut from one that has ``reach`` empty voxels on every side."""
    return padded[tuple(slice(r + o, r + o + size) for r, o, size in zip(reach, offset, shape, strict=True))]
