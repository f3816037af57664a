"""Dilation by 18 neighbours (those that share a face or an edge), as all lesion-wise scores use it.

The 18-neighbourhood is the union of three squares of 3 × 3, one in each plane, and a square is two passes along axes:
5 passes in place of the 19 shifts of a general dilation.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
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
