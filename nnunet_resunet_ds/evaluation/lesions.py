"""Find the lesions of a region, match them with predicted ones, and score every lesion alike (lesion-wise Dice, HD95).

Parts of a region that lie close together are one lesion, and what is predicted close to a lesion matches it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_resunet_ds.evaluation.dice import BRATS, EmptyRegions, Mask
from nnunet_resunet_ds.evaluation.measures import Measures
from nnunet_resunet_ds.evaluation.protocols import DEFAULT, PROTOCOLS, PredictionFilter, Protocol, RegionRule

Labels = NDArray[np.signedinteger]
Array = TypeVar("Array", NDArray[np.bool_], NDArray[np.signedinteger])

CONNECTIVITY = 26
"""Of voxels of one lesion: neighbours by a face, an edge or a corner."""


def score_lesions(
    reference: Lesions,
    prediction: Lesions,
    rule: RegionRule,
    voxel_volume: float,
    *,
    measures: Measures,
    of_region: Mapping[str, float],
    false_lesions_count: bool,
    empty: EmptyRegions,
) -> dict[str, float]:
    """Score every lesion of one region, and return the means and counts.

    Args:
        reference: its lesions, none left out.
        prediction: its lesions.
        rule: says which reference lesions count.
        voxel_volume: in mm³.
        measures: of the surfaces of a lesion and of what matches it.
        of_region: the same of the whole region; they are also those of a lesion that is the only one.
        false_lesions_count: whether false lesions are in the means.
        empty: what the mean Dice is where there is no lesion.

    Returns:
        ``lesion_dice`` and ``lesion_NAME`` for each measure: the mean over the lesions that count and the false ones;
        ``n_tp``: reference lesions that count and are matched; ``n_fp``: predicted lesions that match no reference
        lesion of whatever size; ``n_fn``: reference lesions that count and are not matched.
    """
    matching = match(reference, prediction)
    counts = _counts(reference, rule, voxel_volume)
    n_missed = int((counts & ~matching.is_matched).sum())
    found = list(map(int, np.flatnonzero(counts & matching.is_matched)))
    n_false = matching.n_false if false_lesions_count else 0
    n = int(counts.sum()) + n_false
    sums = _sums(_MatchedLesions(reference, prediction, matching), found, measures, of_region)
    return {
        "lesion_dice": float(matching.dice[counts].sum()) / n if n else empty.dice,
        **{
            f"lesion_{name}": (sums[name] + measure.unmatched * (n_missed + n_false)) / n if n else measure.none
            for name, measure in measures.items()
        },
        "n_tp": len(found),
        "n_fp": matching.n_false,
        "n_fn": n_missed,
    }


def _sums(
    matched: _MatchedLesions, found: Sequence[int], measures: Measures, of_region: Mapping[str, float]
) -> dict[str, float]:
    """Return the sum of each measure over the lesions that are found."""
    sums = dict.fromkeys(measures, 0.0)
    for number in found:
        masks = None if matched.is_all(number) else matched.masks(number)
        for name, measure in measures.items():
            sums[name] += of_region[name] if masks is None else measure.of(*masks)
    return sums


def _counts(reference: Lesions, rule: RegionRule, voxel_volume: float) -> Mask:
    """Tell which reference lesions are large enough to count, by number."""
    counts: Mask = (reference.sizes > 0) & (reference.sizes * voxel_volume > rule.min_size)
    return counts


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


def lesions_of_regions(
    masks: Mapping[str, Mask], rules: Mapping[str, RegionRule], smallest: Mapping[str, float]
) -> dict[str, Lesions]:
    """Find the lesions of every region, and join those that touch the same lesion of another tissue.

    Args:
        masks: of each region, empty for as many voxels at the border as it is dilated.
        rules: of each region, those without scores too.
        smallest: lesions of at most so many voxels are left out, before any joining.
    """
    found = {}
    for name, rule in rules.items():
        lesions = find_lesions(masks[name], rule.dilations)
        found[name] = lesions.keeping(lesions.sizes > smallest[name])
    joining = {name for rule in rules.values() for name in rule.joined_by}
    neighbours = {name: smallest_neighbour(found[name].labels) for name in joining}
    joined = {}
    for name, rule in rules.items():
        joined[name] = found[name]
        for other in rule.joined_by:
            joined[name] = joined[name].joined(neighbours[other])
    return joined


@dataclass(frozen=True)
class Lesions:
    """The lesions of one region (3-D arrays), numbered from 1."""

    labels: Labels
    """Which lesion a voxel is part of; 0: none."""
    reach: Labels
    """Which lesion a voxel is near to: inside its dilation."""
    sizes: NDArray[np.integer]
    """Voxels of each lesion by its number; that of 0 is 0."""

    def voxels(self, number: int) -> NDArray[np.integer]:
        """Return the index (n, 3) of each voxel of a lesion."""
        box = self._boxes[number - 1]
        voxels: NDArray[np.integer] = np.argwhere(self.labels[box] == number) + [side.start for side in box]
        return voxels

    @cached_property
    def _boxes(self) -> list[tuple[slice, ...]]:
        """Boxes around the lesions, from number 1."""
        return ndimage.find_objects(self.labels)  # type: ignore[no-any-return]

    def keeping(self, keep: NDArray[np.bool_]) -> Lesions:
        """Return the lesions for which ``keep`` is true, by number."""
        return self.renumbered(np.where(keep, np.arange(len(keep)), 0))

    def joined(self, neighbours: Labels) -> Lesions:
        """Join lesions that touch the same lesion of another tissue; where a lesion touches several, the first counts.

        Args:
            neighbours: what `smallest_neighbour` returns for the labels of the other tissue.
        """
        lesions, touched = self.labels[self.labels > 0], neighbours[self.labels > 0]
        lesions, touched = lesions[touched > 0], touched[touched > 0]
        first = np.full(len(self.sizes), np.iinfo(touched.dtype).max, touched.dtype)
        np.minimum.at(first, lesions, touched)
        numbers = np.arange(len(self.sizes))
        members = np.unique(lesions)
        _, first_of_group, group = np.unique(first[members], return_index=True, return_inverse=True)
        numbers[members] = members[first_of_group][group]
        return self.renumbered(numbers)

    def renumbered(self, numbers: NDArray[np.integer]) -> Lesions:
        """Give each lesion another number, which several may share; 0 makes it none."""
        table = numbers.astype(self.labels.dtype)
        table[0] = 0
        if np.array_equal(table, np.arange(len(table))):
            return self
        sizes = np.bincount(table, self.sizes, minlength=len(table)).astype(np.int64)
        sizes[0] = 0
        return Lesions(table[self.labels], table[self.reach], sizes)


def find_lesions(region: Mask, dilations: int) -> Lesions:
    """Find the lesions of a mask (3-D) that is empty at its border for at least ``dilations`` voxels.

    They are numbered in the order in which memory of C order meets their reach, as the official scripts do.
    """
    # cc3d 4.1 counts too few components of single voxels in a box without a margin, and raises
    grown = np.pad(dilate(region, dilations), 1)
    reach = cc3d.connected_components(grown, connectivity=CONNECTIVITY)[1:-1, 1:-1, 1:-1].astype(np.int32)
    labels = np.where(region, reach, 0) if dilations else reach
    sizes = np.bincount(reach[region], minlength=int(reach.max(initial=0)) + 1)
    return Lesions(labels, reach, sizes)


@dataclass(frozen=True)
class NearMatches:
    """Which predicted lesions come into the reach of which reference lesions, and what is in common."""

    meets: NDArray[np.bool_]
    """(reference lesions + 1, predicted lesions + 1), by number."""
    common: NDArray[np.integer]
    """Voxels of each reference lesion that are predicted."""
    reference_sizes: NDArray[np.integer]
    matched_sizes: NDArray[np.integer]
    """Voxels of all predicted lesions that match each reference lesion, each as a whole."""
    is_false: NDArray[np.bool_]
    """Whether each predicted lesion matches none, by its number."""

    @property
    def n_false(self) -> int:
        """Predicted lesions that match none."""
        return int(self.is_false.sum())

    @property
    def is_matched(self) -> NDArray[np.bool_]:
        """Whether each reference lesion is matched, by its number."""
        return np.asarray(self.meets.any(axis=1))

    @property
    def dice(self) -> NDArray[np.float64]:
        """Dice of each reference lesion with all that matches it; 0 where nothing does, and for number 0."""
        total = np.maximum(self.reference_sizes + self.matched_sizes, 1)
        return 2 * self.common / total


def match(reference: Lesions, prediction: Lesions) -> NearMatches:
    """Match the lesions of two arrays of one shape."""
    predicted = prediction.labels > 0
    meets = np.zeros((len(reference.sizes), len(prediction.sizes)), bool)
    meets[reference.reach[predicted], prediction.labels[predicted]] = True
    meets[0] = False
    common = np.bincount(reference.labels[predicted], minlength=len(reference.sizes))
    common[0] = 0
    is_false = (prediction.sizes > 0) & ~meets.any(axis=0)
    return NearMatches(meets, common, reference.sizes, meets @ prediction.sizes, is_false)


def unmatched_numbers(
    reference: Lesions, prediction: Lesions, rule: RegionRule, voxel_volume: float
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Return the numbers of the lesions that `score_lesions` counts as false, and as missed."""
    matching = match(reference, prediction)
    missed = _counts(reference, rule, voxel_volume) & ~matching.is_matched
    return np.flatnonzero(matching.is_false), np.flatnonzero(missed)


class _MatchedLesions:
    """The masks of each reference lesion and of all that matches it, cut to the box around both."""

    def __init__(self, reference: Lesions, prediction: Lesions, matching: NearMatches) -> None:
        self._reference, self._prediction, self._matching = reference, prediction, matching
        self._boxes = ndimage.find_objects(reference.labels)
        self._predicted_boxes = ndimage.find_objects(prediction.labels)

    def is_all(self, number: int) -> bool:
        """Tell whether a lesion is the only one, and all that is predicted matches it."""
        matching = self._matching
        return bool(
            matching.reference_sizes[number] == matching.reference_sizes.sum()
            and matching.matched_sizes[number] == self._prediction.sizes.sum()
        )

    def masks(self, number: int) -> tuple[Mask, Mask]:
        """Return a lesion and all that matches it."""
        matched = self._matching.meets[number]
        box = joint_box(
            self._boxes[number - 1], *(self._predicted_boxes[other - 1] for other in np.flatnonzero(matched))
        )
        return self._reference.labels[box] == number, matched[self._prediction.labels[box]]


def joint_box(*boxes: tuple[slice, ...]) -> tuple[slice, ...]:
    """Return the smallest box that holds all of these."""
    return tuple(
        slice(min(side.start for side in sides), max(side.stop for side in sides)) for sides in zip(*boxes, strict=True)
    )


def dilate(mask: Mask, iterations: int) -> Mask:
    """Dilate a 3-D mask by 18 neighbours; what is outside the array counts as empty, and stays so."""
    for _ in range(iterations):
        mask = _over_18_neighbours(mask, np.logical_or)
    return mask


def smallest_neighbour(labels: Labels) -> Labels:
    """Return for each voxel of a 3-D array the smallest positive label among itself and 18 neighbours, 0 for none."""
    none = np.iinfo(labels.dtype).max
    smallest = _over_18_neighbours(np.where(labels > 0, labels, none), np.minimum)
    return np.where(smallest == none, 0, smallest)


def _over_18_neighbours(values: Array, operation: Callable[..., object]) -> Array:
    x, y = (_over_line(values, axis, operation) for axis in (0, 1))
    result = _over_line(x, 1, operation)
    for square in (_over_line(x, 2, operation), _over_line(y, 2, operation)):
        operation(result, square, out=result)
    return result


def _over_line(values: Array, axis: int, operation: Callable[..., object]) -> Array:
    """Combine each voxel with the one before and the one after along an axis."""
    moved = np.moveaxis(values, axis, 0)
    result = values.copy()
    target = np.moveaxis(result, axis, 0)
    operation(target[1:], moved[:-1], out=target[1:])
    operation(target[:-1], moved[1:], out=target[:-1])
    return result
