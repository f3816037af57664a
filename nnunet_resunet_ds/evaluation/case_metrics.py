"""Compute all metrics of one case by the rules of a BraTS protocol."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.evaluation.dice import BRATS, EmptyRegions, Mask, Overlap, overlap
from nnunet_resunet_ds.evaluation.hausdorff import HausdorffDistance, box_around
from nnunet_resunet_ds.evaluation.label_maps import LabelValues, label_values
from nnunet_resunet_ds.evaluation.lesions import predicted_lesions, reference_lesions, score_lesions
from nnunet_resunet_ds.evaluation.protocols import Protocol, protocol_named

Values = NDArray[np.generic]
Metrics = dict[str, dict[str, float]]
"""Region → metric → value."""


def evaluate_case(
    reference: Values,
    prediction: Values,
    spacing: Sequence[float],
    protocol: str | Protocol,
    *,
    empty_regions: EmptyRegions = BRATS,
) -> Metrics:
    """Compare a predicted label map with the reference, by the rules of one BraTS challenge.

    Args:
        reference: label values of the protocol, 3-D, in any order of axes; whole numbers in any dtype.
        prediction: the same.
        spacing: of the voxels in mm, in axis order.
        protocol: one of `PROTOCOLS`, by name or itself.
        empty_regions: what a metric is where a region is empty.

    Returns:
        Region → metric → value: ``dice``, ``hd95`` (mm), ``sensitivity``, ``specificity``, the lesion-wise
        ``lesion_dice``, ``lesion_hd95``, ``n_tp``, ``n_fp`` and ``n_fn`` where the protocol has them, and
        ``reference_volume`` and ``prediction_volume`` (mm³). Since 2024 predicted lesions of a few voxels are left out
        of everything but ``prediction_volume``, as the official scripts do.

    Raises:
        InputError: the arrays are not label maps of one shape with labels that the protocol has, or the spacing is not
            three lengths.
    """
    rules = protocol_named(protocol) if isinstance(protocol, str) else protocol
    first, second = label_values(reference, rules, "reference"), label_values(prediction, rules, "prediction")
    _check_geometry(first, second, spacing)
    return evaluate_labels(first, second, spacing, rules, empty_regions)


def evaluate_labels(
    reference: LabelValues, prediction: LabelValues, spacing: Sequence[float], protocol: Protocol, empty: EmptyRegions
) -> Metrics:
    """Compare two label maps that have been checked, see `evaluate_case`."""
    case = _Case(reference, prediction, spacing, protocol, empty)
    return {region: case.metrics(region) for region in protocol.regions}


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
        self._shape = reference.shape
        self._voxel_volume = float(np.prod(spacing))
        self._measure = HausdorffDistance(spacing)
        self._reference, self._prediction = self._masks(reference, prediction)
        if protocol.is_lesion_wise:
            self._reference_lesions = reference_lesions(self._reference, protocol)
            self._predicted_lesions = predicted_lesions(self._prediction, protocol, self._voxel_volume)

    def metrics(self, region: str) -> dict[str, float]:
        """Compute all metrics of a region."""
        reference, whole = self._reference[region], self._prediction[region]
        prediction = self._predicted_lesions[region].labels > 0 if self._protocol.is_lesion_wise else whole
        counts = overlap(reference, prediction, int(np.prod(self._shape)))
        hd95 = self._hd95(reference, prediction, counts)
        return {
            "dice": counts.dice(self._empty),
            "hd95": hd95,
            "sensitivity": counts.sensitivity(self._empty),
            "specificity": counts.specificity(),
            **(self._lesion_metrics(region, hd95) if self._protocol.is_lesion_wise else {}),
            "reference_volume": counts.reference * self._voxel_volume,
            "prediction_volume": int(np.count_nonzero(whole)) * self._voxel_volume,
        }

    def _lesion_metrics(self, region: str, region_hd95: float) -> dict[str, float]:
        score = score_lesions(
            self._reference_lesions[region],
            self._predicted_lesions[region],
            self._protocol.regions[region],
            self._voxel_volume,
            hd95=self._measure,
            region_hd95=region_hd95,
            penalty=self._penalty,
            false_lesions_count=self._protocol.false_lesions_count,
            empty=self._empty,
        )
        names = {"dice": "lesion_dice", "hd95": "lesion_hd95"}
        return {names.get(name, name): value for name, value in vars(score).items()}

    @property
    def _penalty(self) -> float:
        penalty = self._protocol.penalty
        return float(np.linalg.norm(self._shape)) if penalty is None else penalty

    def _hd95(self, reference: Mask, prediction: Mask, counts: Overlap) -> float:
        if counts.reference and counts.prediction:
            return self._measure(reference, prediction)
        if not counts.reference and not counts.prediction:
            return self._empty.hd95
        one_sided = self._empty.one_sided_hd95
        return self._penalty if one_sided is None else one_sided

    def _masks(self, reference: LabelValues, prediction: LabelValues) -> tuple[dict[str, Mask], dict[str, Mask]]:
        """Return the mask of each region of both, in the box around all labels with room for dilation."""
        rules = self._protocol.rules
        box = box_around((reference != 0) | (prediction != 0))
        margin = max(rule.dilations for rule in rules.values())
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
