"""What each deep-supervision head achieves in validation (paper Table 4): measured, and kept as a table."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from nnunetv2.training.loss.dice import get_tp_fp_fn_tn
from numpy.typing import NDArray
from torch import Tensor, nn

from nnunet_resunet_ds.base.files import replacing

HEAD_LOSSES, HEAD_DICE = "head_losses", "head_dice"
"""Keys in nnU-Net's logger; one list a epoch, the finest head first."""
TABLE = "heads.csv"

Statistics = dict[str, NDArray[np.floating]]


@torch.no_grad()
def head_statistics(
    outputs: Sequence[Tensor], targets: Sequence[Tensor], loss: nn.Module, *, has_ignore_label: bool
) -> Statistics:
    """Return loss (H,) and counts of true and false positives and false negatives (H, R) of one batch.

    Args:
        outputs: logits (B, R, Z, Y, X) of each of H heads, the finest first.
        targets: region targets of the same shapes, bool, with one more channel under ``has_ignore_label``.
        loss: of one head.
        has_ignore_label: the targets' last channel marks voxels that do not count.
    """
    counts = [
        _counts(output, target, has_ignore_label=has_ignore_label)
        for output, target in zip(outputs, targets, strict=True)
    ]
    losses = [loss(output, target) for output, target in zip(outputs, targets, strict=True)]
    tp, fp, fn = (torch.stack(values).cpu().numpy() for values in zip(*counts, strict=True))
    return {HEAD_LOSSES: torch.stack(losses).cpu().numpy(), "tp": tp, "fp": fp, "fn": fn}


def _counts(output: Tensor, target: Tensor, *, has_ignore_label: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Count voxels a region at probability 0.5, as nnU-Net's pseudo Dice does."""
    mask = None
    if has_ignore_label:
        target, mask = target[:, :-1], target[:, -1:] == 0
    tp, fp, fn, _ = get_tp_fp_fn_tn((output > 0).long(), target, axes=[0, 2, 3, 4], mask=mask)
    return tp, fp, fn


def head_dice(statistics: Statistics) -> list[float]:
    """Return the mean region Dice of each head; regions that are neither there nor predicted do not count."""
    tp, fp, fn = (statistics[name].astype(np.float64) for name in ("tp", "fp", "fn"))
    voxels = 2 * tp + fp + fn
    dice = np.divide(2 * tp, voxels, out=np.full_like(tp, np.nan), where=voxels > 0)
    return [float(np.nanmean(row)) if np.isfinite(row).any() else float("nan") for row in dice]


def write_table(
    path: Path, losses: Sequence[Sequence[float]], dice: Sequence[Sequence[float]], total: Sequence[float]
) -> None:
    """Write a row an epoch: loss and Dice of each head, and the weighted total loss."""
    n_heads = len(losses[0])
    numbers = range(1, n_heads + 1)
    header = ["epoch", *(f"loss_{head}" for head in numbers), "loss_total", *(f"dice_{head}" for head in numbers)]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        for epoch, (epoch_losses, epoch_dice, epoch_total) in enumerate(zip(losses, dice, total, strict=True)):
            writer.writerow([epoch, *(f"{value:.6f}" for value in (*epoch_losses, epoch_total, *epoch_dice))])


def read_table(fold_folder: Path) -> list[dict[str, str]]:
    """Return the rows of a fold's table, one an epoch until now."""
    try:
        with (fold_folder / TABLE).open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    except FileNotFoundError:
        return []
