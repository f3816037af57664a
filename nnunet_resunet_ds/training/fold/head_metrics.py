"""Measure each deep-supervision head in validation (paper Table 4)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

HEAD_LOSSES, HEAD_DICE = "head_losses", "head_dice"
"""Keys in nnU-Net's logger; one list a epoch, the finest head first."""

HeadCounts = dict[str, NDArray[Any]]


@torch.no_grad()
def head_statistics(
    outputs: Sequence[Tensor], targets: Sequence[Tensor], loss: nn.Module, *, has_ignore_label: bool
) -> HeadCounts:
    """Return loss (H,) and counts of true and false positives and false negatives (H, R) of one batch.

    Args:
        outputs: logits (B, R, Z, Y, X) of each of H heads, the finest first.
        targets: region targets of the same shapes, bool, with one more channel under ``has_ignore_label``.
        loss: of one head.
        has_ignore_label: the targets' last channel marks voxels that do not count.
    """
    pairs = list(zip(outputs, targets, strict=True))
    losses = torch.stack([loss(output, target) for output, target in pairs])
    counts = torch.stack([_counts(output, target, has_ignore_label=has_ignore_label) for output, target in pairs], 1)
    tp, fp, fn = counts.cpu().numpy()
    return {HEAD_LOSSES: losses.cpu().numpy(), "tp": tp, "fp": fp, "fn": fn}


def _counts(output: Tensor, target: Tensor, *, has_ignore_label: bool) -> Tensor:
    """Count voxels of each region at probability 0.5, as nnU-Net's pseudo Dice does: tp, fp and fn (3, R)."""
    found, there = output > 0, target.bool()
    if has_ignore_label:
        counted = ~there[:, -1:]
        found, there = found & counted, there[:, :-1] & counted
    tp, n_found, n_there = (mask.sum(dim=(0, 2, 3, 4)) for mask in (found & there, found, there))
    return torch.stack([tp, n_found - tp, n_there - tp])


def head_dice(statistics: HeadCounts) -> list[float]:
    """Return the mean region Dice of each head, without regions that neither reference nor prediction has."""
    tp, fp, fn = (statistics[name].astype(np.float64) for name in ("tp", "fp", "fn"))
    voxels = 2 * tp + fp + fn
    dice = np.divide(2 * tp, voxels, out=np.full_like(tp, np.nan), where=voxels > 0)
    return [float(np.nanmean(row)) if np.isfinite(row).any() else float("nan") for row in dice]
