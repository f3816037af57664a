"""Choose the measures of two surfaces that a protocol asks for, with their values where a surface is missing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_resunet_ds.evaluation.dice import EmptyRegions, Mask, Overlap
from nnunet_resunet_ds.evaluation.hausdorff import HausdorffDistance
from nnunet_resunet_ds.evaluation.pooled_hausdorff import PooledHausdorffDistance
from nnunet_resunet_ds.evaluation.protocols import Protocol, SurfaceKind
from nnunet_resunet_ds.evaluation.surface_dice import SurfaceDice

HAUSDORFF: Mapping[SurfaceKind, Callable[[Sequence[float]], Callable[[Mask, Mask], float]]] = {
    SurfaceKind.FACETS: HausdorffDistance,
    SurfaceKind.VOXELS: PooledHausdorffDistance,
}
"""What a surface is → from a spacing in mm to the HD95 of two masks."""


@dataclass(frozen=True)
class Measure:
    """A metric of the surfaces of two masks."""

    of: Callable[[Mask, Mask], float]
    """Returns it for reference and prediction, which are of one shape and not empty."""
    none: float
    """Where both are empty."""
    one_sided: float
    """Where one of two regions is empty."""
    unmatched: float
    """Of a missed or false lesion: the worst there can be."""
    needs_overlap: bool
    """Whether it is the worst for regions that have no voxel in common."""

    def of_region(self, reference: Mask, prediction: Mask, counts: Overlap) -> float:
        """Return the metric of a region, empty or not; ``counts`` are those of the two masks."""
        if counts.reference and counts.prediction:
            is_worst = self.needs_overlap and not counts.common
            return self.unmatched if is_worst else self.of(reference, prediction)
        return self.one_sided if counts.reference or counts.prediction else self.none


Measures = dict[str, Measure]
"""Name of the metric → measure."""


def region_measures(
    protocol: Protocol, spacing: Sequence[float], shape: Sequence[int], empty: EmptyRegions
) -> Measures:
    """Return the measures of whole regions, by the names of `Protocol.surface_metrics`.

    Args:
        protocol: says which.
        spacing: in mm, in axis order.
        shape: of the image in voxels, whose diagonal may be the penalty.
        empty: the values where a region is empty.
    """
    distance = _hausdorff(protocol, spacing, shape, empty)
    shares = [_surface_dice(protocol, spacing, tolerance, empty) for tolerance in protocol.nsd_tolerances]
    return dict(zip(protocol.surface_metrics, (distance, *shares), strict=True))


def large_lesion_measures(
    protocol: Protocol, spacing: Sequence[float], shape: Sequence[int], empty: EmptyRegions
) -> Measures:
    """Return the measures of large lesions, see `region_measures`; the tolerance of NSD is the smallest spacing."""
    return {
        "hd95": _hausdorff(protocol, spacing, shape, empty),
        "nsd": _surface_dice(protocol, spacing, min(spacing), empty),
    }


def _hausdorff(protocol: Protocol, spacing: Sequence[float], shape: Sequence[int], empty: EmptyRegions) -> Measure:
    penalty = float(np.linalg.norm(shape)) if protocol.penalty is None else protocol.penalty
    one_sided = penalty if empty.one_sided_hd95 is None else empty.one_sided_hd95
    return Measure(HAUSDORFF[protocol.surface](spacing), empty.hd95, one_sided, penalty, protocol.needs_overlap)


def _surface_dice(protocol: Protocol, spacing: Sequence[float], tolerance: float, empty: EmptyRegions) -> Measure:
    return Measure(SurfaceDice(spacing, tolerance), empty.dice, 0.0, 0.0, protocol.needs_overlap)
