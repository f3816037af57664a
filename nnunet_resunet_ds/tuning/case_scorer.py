"""Score one case under any number of settings."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from nnunet_resunet_ds.base.regions import REGIONS, Region, mask_of
from nnunet_resunet_ds.evaluation.dice import Overlap
from nnunet_resunet_ds.evaluation.lesions import ReferenceLesions
from nnunet_resunet_ds.tuning.case_stages import CaseStages
from nnunet_resunet_ds.tuning.label_stage import LabelStage
from nnunet_resunet_ds.tuning.metrics import DICE, Metric
from nnunet_resunet_ds.tuning.protocol_scores import ProtocolScorer, independent_parts
from nnunet_resunet_ds.tuning.stored_case import StoredCase
from nnunet_resunet_ds.tuning.tissues import Tissues, tissues_of
from postprocessing.config import PostprocessingConfig
from postprocessing.volume import Labels

ScoreLabels = Callable[[Labels], list[float]]
"""Labels (Z, Y, X) → a score a region."""
ScoreStage = Callable[[LabelStage], list[float]]


class CaseScorer:
    """Scores one case: goodness, so more is better; not a number where the metric is none in any region.

    Args:
        case: whose reference is looked at once, whatever the number of settings.
        metric: what counts.
        regions: of the dataset, in the order of the outputs.
    """

    def __init__(self, case: StoredCase, metric: Metric = DICE, regions: Sequence[Region] = REGIONS) -> None:
        self._sign = metric.sign
        of_regions = [tissues_of(region) for region in regions]
        self._scorers: list[ScoreStage] = [partial(_dice_of_regions, regions=of_regions)]
        if metric != DICE:
            parts = _protocol_parts(case, metric) or _lesion_parts(case, of_regions)
            self._scorers = [partial(_remembered, of=score, tissues=tissues) for tissues, score in parts]
            of_regions = [tissues for tissues, _ in parts if tissues is not None]
        self._stages = CaseStages(case, of_regions)

    def __call__(self, config: PostprocessingConfig) -> float:
        """Return the mean score of the regions that have one."""
        stage = self._stages.after(config)
        scores = np.array([score for scorer in self._scorers for score in scorer(stage)])
        there = scores[~np.isnan(scores)]
        return self._sign * float(there.mean()) if len(there) else np.nan


def _dice_of_regions(stage: LabelStage, regions: Sequence[Tissues]) -> list[float]:
    """Return the Dice of each region, from the counts of voxels."""
    return [_overlap(stage, tissues).dice() for tissues in regions]


def _overlap(stage: LabelStage, tissues: Tissues) -> Overlap:
    counts = stage.counts
    expected = [tissue for tissue in tissues if tissue < len(counts)]
    of_reference = counts[expected]
    return Overlap(
        int(of_reference.sum()), stage.size_of(tissues), int(of_reference[:, tissues].sum()), int(counts.sum())
    )


def _protocol_parts(case: StoredCase, metric: Metric) -> list[tuple[Tissues | None, ScoreLabels]]:
    """Return what scores the regions of a protocol, with the labels that count; nothing without a protocol."""
    if metric.protocol is None:
        return []
    scorers = [ProtocolScorer(case, metric, part) for part in independent_parts(metric.protocol)]
    return [(scorer.tissues, scorer) for scorer in scorers]


def _lesion_parts(case: StoredCase, regions: Sequence[Tissues]) -> list[tuple[Tissues | None, ScoreLabels]]:
    """Return what scores the lesion-wise Dice of each region of the dataset, with its labels."""
    parts: list[tuple[Tissues | None, ScoreLabels]] = []
    for tissues in regions:
        lesions = ReferenceLesions(mask_of(case.reference, tissues), case.voxel_volume)
        parts.append((tissues, partial(_lesion_dice, lesions=lesions, tissues=tissues)))
    return parts


def _lesion_dice(labels: Labels, lesions: ReferenceLesions, tissues: Tissues) -> list[float]:
    return [lesions.dice(mask_of(labels, tissues))]


def _remembered(stage: LabelStage, of: ScoreLabels, tissues: Tissues | None) -> list[float]:
    """Return the score of a label map, computed once for all that have the same voxels of these labels."""
    known = stage.scores if tissues is None else stage.known_of(tissues).scores
    if of not in known:
        known[of] = of(stage.labels)
    return known[of]
