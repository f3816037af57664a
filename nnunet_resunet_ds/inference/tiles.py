"""Where a network looks at a volume: overlapping tiles as in nnU-Net, or all of it at once."""

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import torch
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window
from torch import Tensor

Tile = tuple[slice, ...]
"""Of (Z, Y, X)."""

OVERLAPPING, WHOLE = TILES = ("overlapping", "whole")
"""Half-overlapping patches, or one evaluation of the whole padded volume."""
STEP = 0.5
"""Of a patch, between tiles: half overlap, as in nnU-Net."""
PEAK = 10
"""Largest weight; nnU-Net's."""
SIGMA = 1 / 8
"""Of the Gaussian that weighs a tile's voxels, in patch sizes; nnU-Net's."""


def padded_shape(shape: Sequence[int], patch_size: Sequence[int], strides: Sequence[Sequence[int]] | None) -> list[int]:
    """Return the shape that a volume is padded to.

    Args:
        shape: of the volume (Z, Y, X).
        patch_size: no axis may be shorter than this.
        strides: of each stage of the network, to see the volume at once: each axis becomes a multiple of their
            product; None for tiles.
    """
    if strides is None:
        return [max(axis, patch) for axis, patch in zip(shape, patch_size, strict=True)]
    totals = np.prod(np.asarray(strides), axis=0).tolist()
    return [max(-(-axis // total) * total, patch) for axis, total, patch in zip(shape, totals, patch_size, strict=True)]


def tiles(shape: Sequence[int], patch_size: Sequence[int]) -> list[Tile]:
    """Return the tiles of a padded volume: nnU-Net's, in its order."""
    steps = compute_steps_for_sliding_window(tuple(shape), tuple(patch_size), STEP)
    return [
        tuple(slice(start, start + size) for start, size in zip(starts, patch_size, strict=True))
        for starts in product(*steps)
    ]


def gaussian(patch_size: Sequence[int], device: torch.device) -> Tensor:
    """Return the weight of each voxel of a tile (Z, Y, X), fp32.

    Rounded to fp16 as nnU-Net's are: far corners, whose weights vanish in it, then count alike in every tile.
    """
    weights: Tensor = compute_gaussian(tuple(patch_size), SIGMA, PEAK, torch.float16, device)
    return weights.float()


def flips(mirror_axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the axes of each flip of (C, Z, Y, X), the identity first: eight for three mirror axes.

    Args:
        mirror_axes: of (Z, Y, X).
    """
    axes = [axis + 1 for axis in mirror_axes]
    return [chosen for n in range(len(axes) + 1) for chosen in combinations(axes, n)]
