"""Measure HD95 between the surface voxels of two masks, both directions pooled, as MedPy and panoptica do."""

from collections.abc import Sequence

import numpy as np

from nnunet_resunet_ds.evaluation.dice import Mask
from nnunet_resunet_ds.evaluation.hausdorff import PERCENT, Points, box_around, distances_to
from nnunet_resunet_ds.evaluation.voxel_surface import voxel_surface


class PooledHausdorffDistance:
    """Measures distances in images of one spacing.

    Args:
        spacing: in mm, in axis order.
    """

    def __init__(self, spacing: Sequence[float]) -> None:
        self._spacing = np.asarray(spacing, np.float64)

    def __call__(self, reference: Mask, prediction: Mask) -> float:
        """Return the 95th percentile in mm of the distances of all surface voxels from the other surface.

        Both masks are of one shape and not empty. Between two distances the percentile is interpolated.
        """
        box = box_around(reference | prediction)
        first, second = (_surface_points(mask[box]) for mask in (reference, prediction))
        pooled = [distances_to(other, one, self._spacing) for one, other in ((first, second), (second, first))]
        return float(np.percentile(np.concatenate(pooled), PERCENT))


def _surface_points(mask: Mask) -> Points:
    return Points.numbered(np.flatnonzero(voxel_surface(mask)), mask.shape)
