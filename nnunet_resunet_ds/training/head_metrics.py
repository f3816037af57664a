"""Measure each deep-supervision head in validation (paper Table 4); write them as a table and as a plot."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from nnunet_resunet_ds.base.files import replacing

HEAD_LOSSES, HEAD_DICE = "head_losses", "head_dice"
"""Keys in nnU-Net's logger; one list a epoch, the finest head first."""
TABLE = "heads.csv"
"""In the folder of a fold."""
_DPI = 100
_PANEL_HEIGHT = 1800
"""Pixels, as each of nnU-Net's panels."""

Statistics = dict[str, NDArray[Any]]


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


def head_dice(statistics: Statistics) -> list[float]:
    """Return the mean region Dice of each head, without regions that neither reference nor prediction has."""
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


def add_heads_panel(picture: Path, losses: Sequence[Sequence[float]], dice: Sequence[Sequence[float]]) -> None:
    """Add a panel with loss and Dice of each head below nnU-Net's ``progress.png``.

    Args:
        picture: what nnU-Net has just drawn.
        losses: of each epoch, one a head.
        dice: as the losses.
    """
    with Image.open(picture) as image:
        stock = np.asarray(image.convert("RGB"))
    panel = _panel(np.asarray(losses), np.asarray(dice), width=stock.shape[1])
    with replacing(picture) as temporary:
        Image.fromarray(np.concatenate([stock, panel])).save(temporary, compress_level=1)  # of 0 to 9, for speed


def _panel(losses: NDArray[np.floating], dice: NDArray[np.floating], width: int) -> NDArray[np.uint8]:
    """Draw the panel; return its pixels (height, width, 3)."""
    figure = Figure(figsize=(width / _DPI, _PANEL_HEIGHT / _DPI), dpi=_DPI, layout="tight")
    canvas = FigureCanvasAgg(figure)
    left = figure.subplots()
    right = left.twinx()
    for head, (head_losses, values) in enumerate(zip(losses.T, dice.T, strict=True)):
        colour = f"C{head}"
        left.plot(head_losses, color=colour, linewidth=4, label=f"loss_val, head {head + 1}")
        right.plot(values, color=colour, linewidth=4, linestyle="dotted", label=f"pseudo dice, head {head + 1}")
    for axes, name in ((left, "loss"), (right, "pseudo dice")):
        axes.set_ylabel(name, fontsize=25)
        axes.tick_params(labelsize=25)
    left.set_xlabel("epoch", fontsize=25)
    left.legend(loc=(0, 1), fontsize=25)
    right.legend(loc=(0.2, 1), fontsize=25)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
