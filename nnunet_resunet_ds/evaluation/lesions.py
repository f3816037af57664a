"""The lesions of a region: parts that lie close together are one, and what comes close to a lesion matches it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import cc3d
import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.evaluation.dice import Mask

Labels = NDArray[np.signedinteger]
Array = TypeVar("Array", NDArray[np.bool_], NDArray[np.signedinteger])


def dilate(mask: Mask, iterations: int) -> Mask:
    """Dilate a 3-D mask; what is outside the array counts as empty, and stays so."""
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


CONNECTIVITY = 26


@dataclass(frozen=True)
class Lesions:
    """Numbered from 1."""

    labels: Labels
    """Which lesion a voxel is part of; 0: none."""
    reach: Labels
    """Which lesion a voxel is near to."""
    sizes: NDArray[np.integer]
    """Voxels of each lesion by its number; that of 0 is 0."""

    def keeping(self, keep: NDArray[np.bool_]) -> Lesions:
        """Return those lesions that ``keep`` holds for, by number."""
        return self.renumbered(np.where(keep, np.arange(len(keep)), 0))

    def joined(self, neighbours: Labels) -> Lesions:
        """Make lesions one that touch the same lesion of another tissue; of several, the first counts.

        Args:
            neighbours: `neighbourhood.smallest_neighbour` of the other's labels.
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
    reach = cc3d.connected_components(dilate(region, dilations), connectivity=CONNECTIVITY).astype(np.int32)
    labels = np.where(region, reach, 0) if dilations else reach
    sizes = np.bincount(reach[region], minlength=int(reach.max(initial=0)) + 1)
    return Lesions(labels, reach, sizes)


@dataclass(frozen=True)
class Matching:
    """Which predicted lesions come into the reach of which reference lesions, and what is in common."""

    meets: NDArray[np.bool_]
    """(reference lesions + 1, predicted lesions + 1), by number."""
    common: NDArray[np.integer]
    """Voxels of each reference lesion that are predicted."""
    reference_sizes: NDArray[np.integer]
    matched_sizes: NDArray[np.integer]
    """Voxels of all predicted lesions that match each reference lesion, each as a whole."""
    n_false: int
    """Predicted lesions that match none."""

    @property
    def is_matched(self) -> NDArray[np.bool_]:
        """By number of the reference lesion."""
        return np.asarray(self.meets.any(axis=1))

    @property
    def dice(self) -> NDArray[np.float64]:
        """Of each reference lesion with all that matches it; 0 where nothing does, and for number 0."""
        total = np.maximum(self.reference_sizes + self.matched_sizes, 1)
        return 2 * self.common / total


def match(reference: Lesions, prediction: Lesions) -> Matching:
    """Match the lesions of two arrays of one shape."""
    predicted = prediction.labels > 0
    meets = np.zeros((len(reference.sizes), len(prediction.sizes)), bool)
    meets[reference.reach[predicted], prediction.labels[predicted]] = True
    meets[0] = False
    common = np.bincount(reference.labels[predicted], minlength=len(reference.sizes))
    common[0] = 0
    is_false = (prediction.sizes > 0) & ~meets.any(axis=0)
    return Matching(meets, common, reference.sizes, meets @ prediction.sizes, int(is_false.sum()))
