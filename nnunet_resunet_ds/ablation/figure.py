"""Validation loss against epoch, with and without deep supervision."""

from collections.abc import Sequence
from io import StringIO

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from nnunet_resunet_ds.ablation.outcomes import Row
from nnunet_resunet_ds.ablation.rungs import BASELINE, DEEP_SUPERVISION

SHOWN = {BASELINE: "#d55e00", f"+{DEEP_SUPERVISION}": "#0072b2"}
"""Rungs and their colours, Okabe and Ito's."""
_FINEST = "loss_1"
"""Column of the finest head: what both have, where the total of one is a mean of three heads."""


def loss_curves(row: Row) -> NDArray[np.float64]:
    """Return the validation loss of the finest head, (runs, epochs); not a number after an early stop."""
    curves = [[float(epoch[_FINEST]) for epoch in outcome.run.head_losses()] for outcome in row.outcomes]
    table = np.full((len(curves), max(map(len, curves))), np.nan)
    for line, curve in zip(table, curves, strict=True):
        line[: len(curve)] = curve
    return table


def loss_figure(rows: Sequence[Row]) -> Figure | None:
    """Draw a thin line a run and a broad one for their mean; None where the baseline or its successor is missing."""
    shown = [row for row in rows if row.rung.name in SHOWN]
    if len(shown) < len(SHOWN):
        return None
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for row in shown:
        curves, colour = loss_curves(row), SHOWN[row.rung.name]
        epochs = np.arange(1, curves.shape[1] + 1)
        axes.plot(epochs, curves.T, color=colour, linewidth=0.7, alpha=0.5)
        mean = np.nanmean(curves, axis=0)
        axes.plot(epochs, mean, color=colour, linewidth=2, label=f"{row.rung.name}, n = {len(curves)}")
    axes.set(xlabel="epoch", ylabel="validation loss of the finest head")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def as_svg(figure: Figure) -> str:
    """Return the figure as an svg element, without what changes from run to run."""
    stream = StringIO()
    with mpl.rc_context({"svg.hashsalt": "ablation", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
