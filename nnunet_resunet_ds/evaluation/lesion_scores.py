"""Lesion-wise Dice and HD95: every lesion counts alike, and so does every false one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from nnunet_resunet_ds.evaluation.dice import BRATS, EmptyRegions, Mask
from nnunet_resunet_ds.evaluation.lesions import Lesions, Matching, find_lesions, match, smallest_neighbour
from nnunet_resunet_ds.evaluation.protocols import DEFAULT, PROTOCOLS, PredictionFilter, Protocol, RegionRule

Hd95 = Callable[[Mask, Mask], float]


def lesions_of_regions(
    masks: Mapping[str, Mask], rules: Mapping[str, RegionRule], smallest: Mapping[str, float]
) -> dict[str, Lesions]:
    """Find the lesions of every region, and join those that touch the same lesion of another tissue.

    Args:
        masks: of each region, empty for as many voxels at the border as it is dilated.
        rules: of each region, those without scores too.
        smallest: lesions of at most so many voxels are left out, before any joining.
    """
    alone = {}
    for name, rule in rules.items():
        lesions = find_lesions(masks[name], rule.dilations)
        alone[name] = lesions.keeping(lesions.sizes > smallest[name])
    joining = {name for rule in rules.values() for name in rule.joined_by}
    beside = {name: smallest_neighbour(alone[name].labels) for name in joining}
    joined = {}
    for name, rule in rules.items():
        joined[name] = alone[name]
        for other in rule.joined_by:
            joined[name] = joined[name].joined(beside[other])
    return joined


def predicted_lesions(masks: Mapping[str, Mask], protocol: Protocol, voxel_volume: float) -> dict[str, Lesions]:
    """Find the lesions of a prediction by the rules of a protocol."""
    rules = protocol.rules
    if protocol.prediction_filter is PredictionFilter.NONE:
        return {name: find_lesions(masks[name], 0) for name in rules}
    unit = voxel_volume if protocol.prediction_filter is PredictionFilter.MM3 else 1.0
    return lesions_of_regions(masks, rules, {name: rule.min_size / unit for name, rule in rules.items()})


def reference_lesions(masks: Mapping[str, Mask], protocol: Protocol) -> dict[str, Lesions]:
    """Find the lesions of a reference by the rules of a protocol."""
    return lesions_of_regions(masks, protocol.rules, dict.fromkeys(protocol.rules, 0.0))


@dataclass(frozen=True)
class LesionScore:
    """Of one region of one case."""

    dice: float
    hd95: float
    """In mm."""
    n_tp: int
    """Reference lesions that count and are matched."""
    n_fp: int
    """Predicted lesions that match no reference lesion of whatever size."""
    n_fn: int
    """Reference lesions that count and are not matched."""


def score_lesions(
    reference: Lesions,
    prediction: Lesions,
    rule: RegionRule,
    voxel_volume: float,
    *,
    hd95: Hd95,
    region_hd95: float,
    penalty: float,
    false_lesions_count: bool,
    empty: EmptyRegions,
) -> LesionScore:
    """Score one region.

    Args:
        reference: its lesions, none left out.
        prediction: its lesions.
        rule: says which reference lesions count.
        voxel_volume: in mm³.
        hd95: of two masks that are not empty.
        region_hd95: what it is of the whole region, for that is also what it is of an only lesion.
        penalty: HD95 of a missed or false lesion.
        false_lesions_count: whether false lesions are in the means.
        empty: what the means are of nothing.
    """
    matching = match(reference, prediction)
    counts = _counts(reference, rule, voxel_volume)
    missed = counts & ~matching.is_matched
    found = np.flatnonzero(counts & matching.is_matched)
    pairs = _Pairs(reference, prediction, matching)
    distances = [region_hd95 if pairs.is_all(number) else hd95(*pairs.masks(number)) for number in map(int, found)]
    n_false = matching.n_false if false_lesions_count else 0
    n = int(counts.sum()) + n_false
    return LesionScore(
        dice=float(matching.dice[counts].sum()) / n if n else empty.dice,
        hd95=(sum(distances) + penalty * (int(missed.sum()) + n_false)) / n if n else empty.hd95,
        n_tp=len(found),
        n_fp=matching.n_false,
        n_fn=int(missed.sum()),
    )


def _counts(reference: Lesions, rule: RegionRule, voxel_volume: float) -> Mask:
    """Tell which reference lesions are large enough to count, by number."""
    counts: Mask = (reference.sizes > 0) & (reference.sizes * voxel_volume > rule.min_size)
    return counts


class _Pairs:
    """Each reference lesion, and all that matches it, in the box around both."""

    def __init__(self, reference: Lesions, prediction: Lesions, matching: Matching) -> None:
        self._reference, self._prediction, self._matching = reference, prediction, matching
        self._boxes = ndimage.find_objects(reference.labels)
        self._predicted_boxes = ndimage.find_objects(prediction.labels)

    def is_all(self, number: int) -> bool:
        """Tell whether a lesion and what matches it are all that there is."""
        matching = self._matching
        return bool(
            matching.reference_sizes[number] == matching.reference_sizes.sum()
            and matching.matched_sizes[number] == self._prediction.sizes.sum()
        )

    def masks(self, number: int) -> tuple[Mask, Mask]:
        """Return a lesion and all that matches it."""
        matched = self._matching.meets[number]
        boxes = [self._boxes[number - 1], *(self._predicted_boxes[other - 1] for other in np.flatnonzero(matched))]
        box = tuple(
            slice(min(side.start for side in sides), max(side.stop for side in sides))
            for sides in zip(*boxes, strict=True)
        )
        return self._reference.labels[box] == number, matched[self._prediction.labels[box]]


class ReferenceLesions:
    """The lesions of one region of a reference, ready for the Dice of any number of predictions (BraTS 2023).

    Args:
        reference: (Z, Y, X).
        voxel_volume: in mm³.
        rule: dilations and smallest size; those of adult glioma are the same for all regions.
    """

    def __init__(
        self, reference: Mask, voxel_volume: float, rule: RegionRule = PROTOCOLS[DEFAULT].regions["WT"]
    ) -> None:
        self._margin = rule.dilations
        self._lesions = find_lesions(np.pad(reference, self._margin), rule.dilations)
        self._counts = _counts(self._lesions, rule, voxel_volume)

    def dice(self, prediction: Mask) -> float:
        """Return the mean Dice over lesions and false components, each of which counts as 0; 1 where there is neither.

        A lesion is compared with all of the components, each as a whole, that come into its reach.
        """
        matching = match(self._lesions, find_lesions(np.pad(prediction, self._margin), 0))
        n = int(self._counts.sum()) + matching.n_false
        return float(matching.dice[self._counts].sum()) / n if n else BRATS.dice
