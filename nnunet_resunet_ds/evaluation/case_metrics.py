"""Compute all metrics of one case by the rules of a BraTS protocol."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.evaluation.detection import detection
from nnunet_resunet_ds.evaluation.dice import EmptyRegions, Mask, overlap
from nnunet_resunet_ds.evaluation.hausdorff import box_around
from nnunet_resunet_ds.evaluation.label_maps import LabelValues, protocol_values
from nnunet_resunet_ds.evaluation.lesion_sizes import size_scores
from nnunet_resunet_ds.evaluation.lesions import (
    Lesions,
    predicted_lesions,
    reference_lesions,
    score_lesions,
    unmatched_numbers,
)
from nnunet_resunet_ds.evaluation.matching import best_pairs, overlapping_pairs, unpaired_numbers
from nnunet_resunet_ds.evaluation.measures import large_lesion_measures, region_measures
from nnunet_resunet_ds.evaluation.protocols import Matching, Protocol, protocol_named
from nnunet_resunet_ds.evaluation.unmatched_lesions import FALSE, MISSED, LesionVoxels

Values = NDArray[np.generic]
Metrics = dict[str, dict[str, float]]
"""Region → metric → value."""


def evaluate_case(
    reference: Values,
    prediction: Values,
    spacing: Sequence[float],
    protocol: str | Protocol,
    *,
    empty_regions: EmptyRegions | None = None,
) -> Metrics:
    """Compare a predicted label map with the reference, by the rules of one BraTS challenge.

    Args:
        reference: label values of the protocol, 3-D, in any order of axes; whole numbers in any dtype.
        prediction: the same.
        spacing: of the voxels in mm, in axis order.
        protocol: one of `PROTOCOLS`, by name or itself.
        empty_regions: what a metric is where a region is empty; None: what the challenge says.

    Returns:
        Region → metric → value, the metrics of `Protocol.metrics`:

        - ``dice``, ``hd95`` (mm), ``nsd_TOLERANCE`` (mm), ``sensitivity`` and ``specificity`` of the region;
        - ``lesion_dice``, ``lesion_hd95`` (mm), ``lesion_nsd…``: means over lesions;
        - ``n_tp``, ``n_fp``, ``n_fn``: lesions found, false and missed; ``lesion_f1`` and ``lesion_f1_area``;
        - ``small_n_tp``, ``small_n_fn``, ``small_f1``: the same of small lesions;
        - ``reference_volume`` and ``prediction_volume`` (mm³).

        In 2024 and 2025 predicted lesions of a few voxels are left out of everything but ``prediction_volume``, as the
        official scripts do. A value that cannot be measured is not a number.

    Raises:
        InputError: the arrays are not label maps of one shape with labels that the protocol has, or the spacing is not
            three lengths.
    """
    rules = protocol_named(protocol) if isinstance(protocol, str) else protocol
    first, second = protocol_values(reference, rules, "reference"), protocol_values(prediction, rules, "prediction")
    _check_geometry(first, second, spacing)
    return evaluate_labels(first, second, spacing, rules, empty_regions)


def evaluate_labels(
    reference: LabelValues,
    prediction: LabelValues,
    spacing: Sequence[float],
    protocol: Protocol,
    empty: EmptyRegions | None = None,
) -> Metrics:
    """Compare two label maps that have been checked, see `evaluate_case`."""
    return _Case(reference, prediction, spacing, protocol, empty or protocol.empty_regions).all_metrics()


def compare_labels(
    reference: LabelValues,
    prediction: LabelValues,
    spacing: Sequence[float],
    protocol: Protocol,
    empty: EmptyRegions | None = None,
) -> tuple[Metrics, list[LesionVoxels]]:
    """Compare two label maps that have been checked; return the metrics, and the false and missed lesions.

    The lesions are those that ``n_fp`` and ``n_fn`` count, the largest first; a protocol without lesions has none.
    """
    case = _Case(reference, prediction, spacing, protocol, empty or protocol.empty_regions)
    lesions = [lesion for region in protocol.regions for lesion in case.unmatched(region)]
    return case.all_metrics(), sorted(lesions, key=lambda lesion: -len(lesion.voxels))


class _Case:
    """The masks and lesions of every region of a case, cut to the box around all labels."""

    def __init__(
        self,
        reference: LabelValues,
        prediction: LabelValues,
        spacing: Sequence[float],
        protocol: Protocol,
        empty: EmptyRegions,
    ) -> None:
        self._protocol, self._empty = protocol, empty
        self._n_voxels = reference.size
        self._voxel_volume = float(np.prod(spacing))
        self._measures = region_measures(protocol, spacing, reference.shape, empty)
        self._lesion_measures = large_lesion_measures(protocol, spacing, reference.shape, empty)
        self._reference, self._prediction = self._masks(reference, prediction)
        if protocol.matching is not Matching.NONE:
            self._reference_lesions = reference_lesions(self._reference, protocol)
            self._predicted_lesions = predicted_lesions(self._prediction, protocol, self._voxel_volume)

    def all_metrics(self) -> Metrics:
        """Compute all metrics of all regions."""
        return {region: self.metrics(region) for region in self._protocol.regions}

    def metrics(self, region: str) -> dict[str, float]:
        """Compute all metrics of a region."""
        reference, whole = self._reference[region], self._prediction[region]
        has_lesions = self._protocol.matching is not Matching.NONE
        prediction = self._predicted_lesions[region].labels > 0 if has_lesions else whole
        counts = overlap(reference, prediction, self._n_voxels)
        surfaces = {name: measure.of_region(reference, prediction, counts) for name, measure in self._measures.items()}
        return {
            "dice": counts.dice(self._empty),
            **surfaces,
            "sensitivity": counts.sensitivity(self._empty),
            "specificity": counts.specificity(),
            **self._lesion_metrics(region, surfaces),
            "reference_volume": counts.reference * self._voxel_volume,
            "prediction_volume": int(np.count_nonzero(whole)) * self._voxel_volume,
        }

    def unmatched(self, region: str) -> list[LesionVoxels]:
        """Return the false and the missed lesions of a region."""
        if self._protocol.matching is Matching.NONE:
            return []
        reference, prediction = self._reference_lesions[region], self._predicted_lesions[region]
        if self._protocol.matching is Matching.ONE_TO_ONE:
            false, missed = unpaired_numbers(reference, prediction)
        else:
            false, missed = unmatched_numbers(reference, prediction, self._protocol.regions[region], self._voxel_volume)
        return [
            LesionVoxels(region, kind, lesions.voxels(int(number)) + self._origin)
            for kind, lesions, numbers in ((FALSE, prediction, false), (MISSED, reference, missed))
            for number in numbers
        ]

    def _lesion_metrics(self, region: str, surfaces: dict[str, float]) -> dict[str, float]:
        if self._protocol.matching is Matching.NONE:
            return {}
        if self._protocol.matching is Matching.ONE_TO_ONE:
            return self._one_to_one(self._reference_lesions[region], self._predicted_lesions[region])
        return score_lesions(
            self._reference_lesions[region],
            self._predicted_lesions[region],
            self._protocol.regions[region],
            self._voxel_volume,
            measures=self._measures,
            of_region=surfaces,
            false_lesions_count=self._protocol.false_lesions_count,
            empty=self._empty,
        )

    def _one_to_one(self, reference: Lesions, prediction: Lesions) -> dict[str, float]:
        pairs = overlapping_pairs(reference, prediction)
        found = detection(pairs, reference, prediction)
        rule = self._protocol.size_rule
        if rule is None:
            return found
        sized = size_scores(reference, prediction, best_pairs(pairs), rule, self._voxel_volume, self._lesion_measures)
        return {**found, **sized}

    def _masks(self, reference: LabelValues, prediction: LabelValues) -> tuple[dict[str, Mask], dict[str, Mask]]:
        """Return the mask of each region of both, in the box around all labels with room for dilation."""
        rules = self._protocol.rules
        box = box_around((reference != 0) | (prediction != 0))
        margin = max(rule.dilations for rule in rules.values())
        self._origin = np.array([side.start - margin for side in box])
        both = []
        for values in (reference, prediction):
            labels = np.pad(np.ascontiguousarray(values[box]), margin)
            both.append({name: np.isin(labels, rule.labels) for name, rule in rules.items()})
        return both[0], both[1]


def _check_geometry(reference: LabelValues, prediction: LabelValues, spacing: Sequence[float]) -> None:
    if reference.ndim != 3 or reference.shape != prediction.shape or not reference.size:
        msg = f"label maps must be 3-D, not empty and of one shape; got {reference.shape} and {prediction.shape}"
        raise InputError(msg)
    if len(spacing) != 3 or not all(np.isfinite(length) and length > 0 for length in spacing):
        msg = f"spacing must be three lengths in mm; got {tuple(spacing)}"
        raise InputError(msg)
