"""What the voxels of a case's images tell: where the brain is, and what is odd about them. Arrays are (Z, Y, X)."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.number]
Mask = NDArray[np.bool_]

MAX_SATURATED = 0.01
"""Share of the non-zero voxels that may have the largest value."""
MIN_COVERAGE = 0.9
"""Share of the brain (any modality non-zero) that each modality must cover."""
MAX_NON_ZERO = 0.75
"""Share of all voxels that may be non-zero; a brain fills about a sixth of a BraTS volume, half of its own box."""
SENTINEL = -32768
"""Stands for background wherever it is: the smallest 16-bit number."""


def background_fill(values: Values) -> float | None:
    """Return the negative value that fills the background: `SENTINEL`, or that of most corners; None where it is 0."""
    if values.min() == SENTINEL:
        return float(SENTINEL)
    corners = [values[corner].item() for corner in product((0, -1), repeat=3)]
    fill = max(corners, key=corners.count)
    return float(fill) if fill < 0 and corners.count(fill) > len(corners) // 2 else None


def without_fill(values: Values, fill: float) -> Values:
    """Return a copy with the background set to 0."""
    cleared: Values = np.where(values == fill, values.dtype.type(0), values)
    return cleared


def saturated_share(values: Values) -> float:
    """Return the share of non-zero voxels that have the largest value; 0 where all voxels are 0 or alike."""
    n_non_zero = int(np.count_nonzero(values))
    n_largest = int(np.count_nonzero(values == values.max()))
    return n_largest / n_non_zero if 0 < n_largest < n_non_zero else 0.0


def brain_mask(channels: Mapping[str, Values]) -> Mask:
    """Return where any modality is non-zero (decision D4)."""
    brain: Mask = np.logical_or.reduce([values != 0 for values in channels.values()])
    return brain


def coverage(channels: Mapping[str, Values], brain: Mask) -> dict[str, float]:
    """Return the share of the brain in which each modality is non-zero."""
    n_brain = max(int(np.count_nonzero(brain)), 1)
    return {channel: int(np.count_nonzero(values)) / n_brain for channel, values in channels.items()}


_STRIDE = 5
"""Every fifth voxel of each axis is compared first: one in 125 tells different images apart."""


def twin_warnings(values: Mapping[str, Values], files: Mapping[str, Path]) -> list[str]:
    """Return ``KIND: detail`` of each set of channels that are voxel for voxel the same.

    Args:
        values: channel name → voxels (Z, Y, X).
        files: channel name → file, for the message.
    """
    groups: list[list[str]] = []
    for channel in values:
        group = next((group for group in groups if _are_same(values[group[0]], values[channel])), None)
        if group is None:
            groups.append([channel])
        else:
            group.append(channel)
    return [_warning(group, files) for group in groups if len(group) > 1]


def _are_same(first: Values, second: Values) -> bool:
    some = (slice(None, None, _STRIDE),) * first.ndim
    return np.array_equal(first[some], second[some]) and np.array_equal(first, second)


def _warning(group: list[str], files: Mapping[str, Path]) -> str:
    names = f"{', '.join(group[:-1])} and {group[-1]}"
    given = ", ".join(dict.fromkeys(files[channel].name for channel in group))
    return f"same image twice: {names} are voxel for voxel the same ({given})"
