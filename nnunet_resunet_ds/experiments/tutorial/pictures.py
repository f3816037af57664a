"""Draw the pictures of the tutorial from what a demo has left."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image

from nnunet_resunet_ds.base.files import replacing
from nnunet_resunet_ds.base.regions import REGIONS
from nnunet_resunet_ds.experiments.tutorial.demo_folder import DemoFolder, Shown
from nnunet_resunet_ds.training.fold.head_metrics import HEAD_DICE, HEAD_LOSSES

Slice = NDArray[np.integer]
Log = Mapping[str, list[Any]]

COLOURS = {"WT": "#009e73", "TC": "#56b4e9", "ET": "#f0e442"}
"""Of regions, as the report has them (Okabe and Ito)."""
TISSUE_COLOURS = {"ED": COLOURS["WT"], "NCR": COLOURS["TC"], "ET": COLOURS["ET"]}
N_COLOURS = (256, 128, 64, 32)
"""Of a picture that is written: as many of these as its bytes allow."""
MAX_BYTES = 140_000
"""Of a picture."""
WIDTH = 1100
"""Pixels of the widest picture."""


def census_picture(demo: DemoFolder) -> Figure:
    """Draw how much of each tissue the training cases have, a bar a case."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.subplots()
    cases = sorted(demo.census, key=lambda case: sum(demo.census[case].values()))
    bottom = np.zeros(len(cases))
    for tissue, colour in TISSUE_COLOURS.items():
        millilitres = np.array([demo.census[case][tissue] for case in cases]) / 1000
        axes.bar(range(len(cases)), millilitres, bottom=bottom, color=colour, edgecolor="0.3", label=tissue)
        bottom += millilitres
    axes.set(xlabel="training case, by size of its tumour", ylabel="millilitres", xticks=[])
    axes.legend(frameon=False)
    return figure


def training_picture(demo: DemoFolder) -> Figure:
    """Draw how the training went: losses and learning rate on the left, the heads on the right."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    losses, heads = figure.subplots(1, 2)
    rate = _draw_losses(losses, demo.log)
    _draw_heads(heads, demo.log)
    for axes in (losses, heads):
        axes.set(xlabel="epoch", ylabel="loss", ylim=(0, None))
    figure.legend(*_handles(losses, rate), loc="outside upper left", ncols=3, frameon=False)
    figure.legend(*_handles(heads), loc="outside upper right", ncols=3, frameon=False)
    return figure


def _draw_losses(losses: Axes, log: Log) -> Axes:
    """Draw the losses, and return the axes of the learning rate."""
    losses.plot(log["train_losses"], color="C0", label="training loss")
    losses.plot(log["val_losses"], color="C3", label="validation loss")
    rate: Axes = losses.twinx()
    rate.step(range(len(log["lrs"])), log["lrs"], where="mid", color="0.5", linestyle="dotted", label="learning rate")
    rate.set(ylim=(0, None), ylabel="learning rate")
    return rate


def _draw_heads(heads: Axes, log: Log) -> None:
    dice = heads.twinx()
    dice.set(ylim=(0, 1), ylabel="pseudo Dice (dotted)")
    dice.plot(log[HEAD_DICE], linestyle="dotted")
    for number, losses in enumerate(np.transpose(log[HEAD_LOSSES]), start=1):
        heads.plot(losses, label=f"head {number}")


def _handles(*of: Axes) -> tuple[list[Artist], list[str]]:
    """Return the lines of axes, and their names, for a legend."""
    found = [axes.get_legend_handles_labels() for axes in of]
    return [handle for handles, _ in found for handle in handles], [name for _, names in found for name in names]


def prediction_picture(demo: DemoFolder) -> Figure:
    """Draw one case in two sequences and three planes, with the contours of reference and prediction."""
    case = demo.most_tumour
    centre = [round(position) for position in np.argwhere(case.truth).mean(axis=0)]
    figure = Figure(figsize=(10, 6.4), layout="constrained", facecolor="black")
    rows = figure.subplots(2, 3)
    for channel, row in zip(("T1ce", "FLAIR"), rows, strict=True):
        for axis, axes in enumerate(row):
            _show(axes, case, channel, axis, centre[axis])
            _contours(axes, np.take(case.truth, centre[axis], axis), 3.0, 0.5)
            _contours(axes, np.take(case.after, centre[axis], axis), 1.0, 1.0)
        row[0].set_ylabel(channel, color="white")
    _legend(figure)
    return figure


def postprocessing_picture(demo: DemoFolder) -> Figure:
    """Draw the slice that post-processing has changed most: the reference, before and after."""
    case = demo.most_changed
    z = int(np.count_nonzero(case.before != case.after, axis=(1, 2)).argmax())
    figure = Figure(figsize=(10, 4), layout="constrained", facecolor="black")
    titles = {"reference": case.truth, "before post-processing": case.before, "after": case.after}
    for axes, (title, labels) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        _show(axes, case, "T1ce", 0, z)
        _contours(axes, labels[z], 1.5, 1.0)
        axes.set_title(title, color="white")
    _legend(figure)
    return figure


def _show(axes: Axes, case: Shown, channel: str, axis: int, position: int) -> None:
    """Show a slice of an image, cut to the brain."""
    image = np.take(case.images[channel], position, axis)
    axes.imshow(image, cmap="gray", origin="upper" if axis == 0 else "lower", vmax=np.percentile(image, 99.5))
    rows, columns = np.nonzero(image)
    axes.set_xlim(columns.min() - 1, columns.max() + 1)
    limits = (rows.min() - 1, rows.max() + 1)
    axes.set_ylim(*(reversed(limits) if axis == 0 else limits))
    axes.set(xticks=[], yticks=[])


def _contours(axes: Axes, labels: Slice, width: float, alpha: float) -> None:
    for region in REGIONS:
        mask = region.mask(labels)
        if mask.any():
            axes.contour(mask, levels=[0.5], colors=COLOURS[region.name], linewidths=width, alpha=alpha)


def _legend(figure: Figure) -> None:
    handles = [Line2D([], [], color=colour, label=name) for name, colour in COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), labelcolor="white", frameon=False)


def rendered(figure: Figure) -> Image.Image:
    """Return the pixels of a figure."""
    stream = BytesIO()
    figure.savefig(stream, dpi=110, format="png")
    return Image.open(stream)


def save(picture: Image.Image | Figure, path: Path) -> None:
    """Write a small PNG: at most `WIDTH` pixels wide, with fewer colours where it is larger than `MAX_BYTES`."""
    image = (rendered(picture) if isinstance(picture, Figure) else picture).convert("RGB")
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(_small_png(image))


def _small_png(image: Image.Image) -> bytes:
    for n_colours in N_COLOURS:
        stream = BytesIO()
        palette = image.quantize(n_colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)  # rare colours stay
        palette.save(stream, format="PNG", optimize=True)
        if stream.tell() <= MAX_BYTES:
            break
    return stream.getvalue()


def changed_voxels(cases: Sequence[Shown]) -> int:
    """Return how many voxels post-processing has changed, in all cases."""
    return sum(int(np.count_nonzero(case.before != case.after)) for case in cases)
