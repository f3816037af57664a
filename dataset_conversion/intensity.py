"""Say what is odd about the voxels of a case's images, and where the brain is. Arrays are (Z, Y, X)."""

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
_STRIDE = 5
"""Every fifth voxel of each axis is compared first: one in 125 tells different images apart."""


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


def is_empty(values: Values) -> bool:
    """Tell whether all voxels are 0."""
    return not _some(values).any() and not values.any()


def brain_mask(channels: Mapping[str, Values]) -> Mask:
    """Return where any modality is non-zero (decision D4)."""
    first, *others = channels.values()
    brain: Mask = first != 0
    mask = np.empty_like(brain)  # one for all: new memory costs more than the comparison
    for values in others:
        np.logical_or(brain, np.not_equal(values, 0, out=mask), out=brain)
    return brain


def intensity_warnings(values: Mapping[str, Values], brain: Mask) -> list[str]:
    """Return ``KIND: detail`` of what is odd about the images of a case.

    Args:
        values: channel name → voxels (Z, Y, X).
        brain: where any of them is non-zero.
    """
    n_brain = int(np.count_nonzero(brain))
    n_non_zero = {channel: int(np.count_nonzero(channel_values)) for channel, channel_values in values.items()}
    shares = {channel: n / max(n_brain, 1) for channel, n in n_non_zero.items()}
    warnings = []
    if n_brain / brain.size > MAX_NON_ZERO:
        warnings.append(f"not skull-stripped?: {n_brain / brain.size:.0%} of the voxels are not zero")
    if min(shares.values()) < MIN_COVERAGE:
        covered = ", ".join(f"{channel} {share:.0%}" for channel, share in shares.items())
        warnings.append(f"modalities cover different volumes: of the brain in any, {covered}")
    mask = np.empty_like(brain)
    for channel, channel_values in values.items():
        warnings += _range_warnings(channel, channel_values, n_non_zero[channel], mask)
    return warnings


def _range_warnings(channel: str, values: Values, n_non_zero: int, mask: Mask) -> list[str]:
    """Return ``KIND: detail`` of what is odd about the smallest and the largest value of an image.

    Args:
        channel: name of the image.
        values: its voxels (Z, Y, X).
        n_non_zero: how many of them are not 0.
        mask: memory (Z, Y, X) to work in.
    """
    smallest, largest = values.min(), values.max()
    n_largest = int(np.count_nonzero(np.equal(values, largest, out=mask)))
    share = n_largest / n_non_zero if n_largest < n_non_zero else 0.0  # not where all voxels are 0 or alike
    warnings = []
    if share > MAX_SATURATED:
        warnings.append(f"saturated: {share:.1%} of {channel} is at its largest value {largest:g}")
    if smallest < 0:
        warnings.append(f"negative intensities: {channel} down to {smallest:g}")
    return warnings


def same_image_warnings(values: Mapping[str, Values], files: Mapping[str, Path]) -> list[str]:
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
    return np.array_equal(_some(first), _some(second)) and np.array_equal(first, second)


def _some(values: Values) -> Values:
    return values[(slice(None, None, _STRIDE),) * values.ndim]


def _warning(group: list[str], files: Mapping[str, Path]) -> str:
    names = f"{', '.join(group[:-1])} and {group[-1]}"
    given = ", ".join(dict.fromkeys(files[channel].name for channel in group))
    return f"same image twice: {names} are voxel for voxel the same ({given})"
