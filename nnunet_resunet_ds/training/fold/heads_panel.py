"""Draw the loss and Dice of each deep-supervision head below nnU-Net's ``progress.png``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from nnunet_resunet_ds.base.files import replacing

_DPI = 100
_PANEL_HEIGHT = 1800
"""Pixels, as each of nnU-Net's panels."""


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
