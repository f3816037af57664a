"""Noticing one image that was given as two modalities."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dataset_conversion.intensity import Values

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
