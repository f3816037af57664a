"""Measure HD95, the 95th percentile of the Hausdorff distance, weighted by surface area as in BraTS since 2023."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nnunet_resunet_ds.evaluation.dice import Mask

PERCENT = 95

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


class HausdorffDistance:
    """Measures distances in images of one spacing.

    Args:
        spacing: in mm, in axis order.
    """

    def __init__(self, spacing: Sequence[float]) -> None:
        self._spacing = np.asarray(spacing, np.float64)
        self._areas = pattern_areas(spacing)

    def __call__(self, reference: Mask, prediction: Mask) -> float:
        """Return the larger of the two directed 95th percentiles in mm; both masks are of one shape and not empty."""
        box = box_around(reference | prediction)
        first, second = (surface_of(mask[box], self._areas) for mask in (reference, prediction))
        return max(
            percentile(distances_to(other.points, one.points, self._spacing), one.areas)
            for one, other in ((first, second), (second, first))
        )


@dataclass(frozen=True)
class Points:
    """Points on the grid of an image."""

    numbers: NDArray[np.intp]
    """(n,), of the points in memory of C order; ascending."""
    places: NDArray[np.intp]
    """(n, 3), in voxels."""

    @classmethod
    def numbered(cls, numbers: NDArray[np.intp], shape: tuple[int, ...]) -> "Points":
        """Return the points of these numbers in an array of a shape."""
        return cls(numbers, np.stack(np.unravel_index(numbers, shape), axis=1))


def distances_to(others: Points, points: Points, spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each of the points (n,) is from the nearest of others, in mm; both are on one grid, not empty."""
    distances = np.zeros(len(points.places))
    apart = ~np.isin(points.numbers, others.numbers, assume_unique=True)
    places = points.places[apart]
    tree = cKDTree(others.places * spacing, compact_nodes=False, balanced_tree=False)  # built for one query
    _, nearest = tree.query(places * spacing)
    # From whole numbers of voxels, so that equal distances are equal to the last bit, and sort as such.
    steps = (places - others.places[nearest]) * spacing
    distances[apart] = np.sqrt(np.square(steps).sum(axis=1))
    return distances


def percentile(distances: NDArray[np.float64], areas: NDArray[np.float64]) -> float:
    """Return the smallest distance in mm within which at least 95 % of the surface area lies."""
    order = np.lexsort((areas, distances))
    part = np.cumsum(areas[order]) / np.sum(areas[order])
    return float(distances[order][min(int(np.searchsorted(part, PERCENT / 100)), len(order) - 1)])


@dataclass(frozen=True)
class WeightedSurface:
    """The surface of a mask, corner by corner."""

    points: Points
    """Its corners."""
    areas: NDArray[np.float64]
    """(n,), in mm²."""


def surface_of(mask: Mask, areas: NDArray[np.float64]) -> WeightedSurface:
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
    return WeightedSurface(Points.numbered(corners, shape), areas[patterns[corners]])


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


def box_around(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the box around a mask as a slice for each axis; empty slices where the mask is empty."""
    box = []
    for axis in range(mask.ndim):
        (where,) = np.nonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        side = slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0)
        box.append(side)
        mask = mask[(slice(None),) * axis + (side,)]  # less to look at along the next axis
    return tuple(box)
