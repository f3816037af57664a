"""Score a label map by one metric of a challenge's protocol: the numbers of ``resunet-ds evaluate --protocol``."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from nnunet_resunet_ds.base.regions import mask_of
from nnunet_resunet_ds.evaluation.detection import detection, f1
from nnunet_resunet_ds.evaluation.dice import Mask, overlap
from nnunet_resunet_ds.evaluation.lesion_sizes import size_scores
from nnunet_resunet_ds.evaluation.lesions import Lesions, predicted_lesions, reference_lesions, score_lesions
from nnunet_resunet_ds.evaluation.matching import best_pairs, overlapping_pairs
from nnunet_resunet_ds.evaluation.measures import region_measures
from nnunet_resunet_ds.evaluation.protocols import Matching, PredictionFilter, Protocol
from nnunet_resunet_ds.tuning.metrics import F1, Metric
from nnunet_resunet_ds.tuning.stored_case import StoredCase
from nnunet_resunet_ds.tuning.tissues import Tissues
from postprocessing.volume import Labels

_OF_LESIONS = "lesion_"


def independent_parts(protocol: Protocol) -> Iterator[Protocol]:
    """Yield protocols of one region each, where no region's lesions join those of another; else the protocol itself."""
    if any(rule.joined_by for rule in protocol.rules.values()):
        yield protocol
        return
    for name, rule in protocol.regions.items():
        yield replace(protocol, regions={name: rule}, unscored={})


class ProtocolScorer:
    """Scores label maps of a case by one metric of each region of a protocol.

    Args:
        case: whose reference is looked at once.
        metric: of a protocol.
        protocol: that one, or an independent part of it.
    """

    def __init__(self, case: StoredCase, metric: Metric, protocol: Protocol) -> None:
        self._key, self._protocol = metric.key, protocol
        self._values = np.zeros(np.iinfo(np.uint8).max + 1, np.uint8)  # background: what is of no region, as ignored
        self._values[: len(metric.values)] = metric.values
        self._voxel_volume = case.voxel_volume
        self._margin = max(rule.dilations for rule in protocol.rules.values())
        empty = protocol.empty_regions
        # axes as the evaluation has them, so that sums are of the same order
        self._measures = region_measures(protocol, case.spacing[::-1], case.image_shape[::-1], empty)
        self._references = self._masks(case.reference)
        self._has_lesions = metric.key.startswith(_OF_LESIONS) or (
            protocol.prediction_filter is not PredictionFilter.NONE
        )
        self._reference_lesions = reference_lesions(self._references, protocol) if self._has_lesions else {}

    @property
    def tissues(self) -> Tissues | None:
        """The labels of its only region; None: there are several, and all labels count."""
        if len(self._protocol.rules) > 1:
            return None
        (rule,) = self._protocol.rules.values()
        return tuple(label for label, value in enumerate(self._values.tolist()) if value in rule.labels)

    def __call__(self, labels: Labels) -> list[float]:
        """Return the metric of each region; labels (Z, Y, X) are nnU-Net's values."""
        masks = self._masks(labels)
        if not self._has_lesions:
            return [self._of_region(name, masks[name]) for name in self._protocol.regions]
        lesions = predicted_lesions(masks, self._protocol, self._voxel_volume)
        if self._key.startswith(_OF_LESIONS):
            return [self._of_lesions(name, lesions[name]) for name in self._protocol.regions]
        return [self._of_region(name, lesions[name].labels > 0) for name in self._protocol.regions]

    def _masks(self, labels: Labels) -> Mapping[str, Mask]:
        values = np.pad(np.ascontiguousarray(self._values[labels].transpose()), self._margin)
        return {name: mask_of(values, rule.labels) for name, rule in self._protocol.rules.items()}

    def _of_region(self, name: str, prediction: Mask) -> float:
        reference = self._references[name]
        counts = overlap(reference, prediction)
        if self._key in self._measures:
            return self._measures[self._key].of_region(reference, prediction, counts)
        return counts.dice(self._protocol.empty_regions)

    def _of_lesions(self, name: str, prediction: Lesions) -> float:
        reference = self._reference_lesions[name]
        if self._protocol.matching is Matching.ONE_TO_ONE:
            return self._one_to_one(reference, prediction)
        scores = score_lesions(
            reference,
            prediction,
            self._protocol.regions[name],
            self._voxel_volume,
            measures={},
            of_region={},
            false_lesions_count=self._protocol.false_lesions_count,
            empty=self._protocol.empty_regions,
        )
        if self._key == F1:
            return f1(int(scores["n_tp"]), int(scores["n_fp"]), int(scores["n_fn"]))
        return scores[self._key]

    def _one_to_one(self, reference: Lesions, prediction: Lesions) -> float:
        pairs = overlapping_pairs(reference, prediction)
        rule = self._protocol.size_rule
        if self._key == F1 or rule is None:
            return detection(pairs, reference, prediction)[self._key]
        return size_scores(reference, prediction, best_pairs(pairs), rule, self._voxel_volume, {})[self._key]
