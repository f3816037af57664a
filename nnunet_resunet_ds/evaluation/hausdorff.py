"""The 95th percentile of the Hausdorff distance, weighted by surface area, as BraTS computes it since 2023."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nnunet_resunet_ds.evaluation.box import box_around
from nnunet_resunet_ds.evaluation.dice import Mask
from nnunet_resunet_ds.evaluation.surface import Surface, pattern_areas, surface_of

PERCENT = 95


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
            percentile(self._distances(one, other), one.areas) for one, other in ((first, second), (second, first))
        )

    def _distances(self, surface: Surface, other: Surface) -> NDArray[np.float64]:
        """Return how far each corner of a surface is from the nearest corner of another, in mm."""
        distances = np.zeros(len(surface.corners))
        apart = ~np.isin(surface.numbers, other.numbers, assume_unique=True)
        corners = surface.corners[apart]
        tree = cKDTree(other.corners * self._spacing, compact_nodes=False, balanced_tree=False)  # built for one query
        _, nearest = tree.query(corners * self._spacing)
        # From whole numbers of voxels, so that equal distances are equal to the last bit, and sort as such.
        steps = (corners - other.corners[nearest]) * self._spacing
        distances[apart] = np.sqrt(np.square(steps).sum(axis=1))
        return distances


def percentile(distances: NDArray[np.float64], areas: NDArray[np.float64]) -> float:
    """Return the smallest distance that at least 95 % of the area keeps within."""
    order = np.lexsort((areas, distances))
    part = np.cumsum(areas[order]) / np.sum(areas[order])
    return float(distances[order][min(int(np.searchsorted(part, PERCENT / 100)), len(order) - 1)])
