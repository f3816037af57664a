"""The surface of a mask as BraTS measures it: a point at every corner of voxels that it passes, with an area in mm².

After the definition of DeepMind's surface-distance: the eight voxels round a corner make one of 256 patterns, and each
stands for the facets that marching cubes would put there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.evaluation.dice import Mask

Vector = tuple[float, float, float]

_SMALL: Vector = (1 / 8, 1 / 8, 1 / 8)
"""The facet that cuts one corner off a cube of unit edges."""

_FACETS: Mapping[int, Sequence[tuple[int, Vector]]] = {
    0b0000_0000: (),
    0b0000_0001: ((1, _SMALL),),
    0b0000_0011: ((2, (1 / 4, 1 / 4, 0)),),
    0b0000_0110: ((2, _SMALL),),
    0b0001_1000: ((2, _SMALL),),
    0b0000_0111: ((1, (1 / 2, 0, 0)), (3, _SMALL)),
    0b0001_0110: ((3, _SMALL),),
    0b0001_1001: ((2, (0, 1 / 4, 1 / 4)), (1, _SMALL)),
    0b0000_1111: ((2, (1 / 2, 0, 0)),),
    0b0001_0111: ((6, _SMALL),),
    0b0001_1011: ((4, _SMALL), (1, (0, 1 / 4, 1 / 4)), (1, (1 / 4, 0, 1 / 4))),
    0b0001_1110: ((1, (1 / 2, 0, 0)), (4, _SMALL)),
    0b0011_1100: ((4, (1 / 4, 1 / 4, 0)),),
    0b0110_1001: ((4, _SMALL),),
}
"""Pattern → how many facets of which normal, up to signs; its length is the area for unit edges.

One pattern for each of the 14 kinds; turned, mirrored and exchanged for their opposites they make all 256. Bit 7 is the
voxel before the corner on all three axes, bit 0 the one after it; the last axis goes fastest.
"""


@dataclass(frozen=True)
class Surface:
    """Where a mask ends."""

    numbers: NDArray[np.intp]
    """(n,), of the corners in memory of C order; ascending."""
    corners: NDArray[np.intp]
    """(n, 3), in voxels."""
    areas: NDArray[np.float64]
    """(n,), in mm²."""


def surface_of(mask: Mask, areas: NDArray[np.float64]) -> Surface:
    """Find the surface of a mask (3-D); what lies outside the array counts as empty.

    Args:
        mask: of which corner (0, 0, 0) is the outermost.
        areas: what `pattern_areas` returned.
    """
    padded = np.pad(mask, 1).view(np.uint8)
    shape = tuple(np.add(mask.shape, 1))
    patterns = np.zeros(shape, np.uint8)
    for bit, offsets in enumerate(product((1, 0), repeat=3)):
        window = tuple(slice(offset, offset + size) for offset, size in zip(offsets, shape, strict=True))
        patterns |= padded[window] << np.uint8(bit)
    patterns = patterns.ravel()
    corners = np.flatnonzero((patterns - np.uint8(1)) < 0xFE)  # neither 0 nor 0xFF: 0 - 1 is 0xFF here
    return Surface(corners, np.stack(np.unravel_index(corners, shape), axis=1), areas[patterns[corners]])


def pattern_areas(spacing: Sequence[float]) -> NDArray[np.float64]:
    """Return the area in mm² that each of the 256 patterns stands for; ``spacing`` in mm in axis order."""
    faces = np.prod(spacing) / np.asarray(spacing, np.float64)  # mm² of a voxel's face across each axis
    areas = np.zeros(256)
    for pattern, facets in _FACETS.items():
        for order, mirrored in product(permutations(range(3)), product((False, True), repeat=3)):
            area = sum(n * float(np.linalg.norm(np.array(normal)[list(order)] * faces)) for n, normal in facets)
            moved = _moved(pattern, order, mirrored)
            areas[moved] = areas[0xFF - moved] = area
    return areas


def _moved(pattern: int, order: tuple[int, ...], mirrored: tuple[bool, ...]) -> int:
    """Return the pattern after exchanging axes and mirroring some of them."""
    bits = np.array([pattern >> bit & 1 for bit in reversed(range(8))]).reshape(2, 2, 2)
    moved = np.flip(bits.transpose(order), tuple(axis for axis in range(3) if mirrored[axis]))
    return int("".join(map(str, moved.ravel())), 2)
