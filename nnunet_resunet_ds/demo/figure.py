"""One picture of a cohort: images, truth and prediction, a case a row."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from nnunet_resunet_ds.base.files import replacing
from nnunet_resunet_ds.base.regions import Tissue

_COLOURS = {Tissue.ED: "#4daf4a", Tissue.NCR: "#377eb8", Tissue.ET: "#ffd92f"}
_TITLES = ("T1ce", "FLAIR", "truth", "prediction")


@dataclass(frozen=True)
class Row:
    """What one row shows; all (Z, Y, X), labels in nnU-Net's values."""

    name: str
    t1ce: NDArray[np.integer]
    flair: NDArray[np.integer]
    truth: NDArray[np.integer]
    prediction: NDArray[np.integer]


def save_figure(rows: Sequence[Row], path: Path) -> None:
    """Write a PNG with each case at its axial slice of most tumour."""
    figure = Figure(figsize=(10, 2.6 * len(rows) + 0.4), layout="constrained", facecolor="black")
    axes = figure.subplots(len(rows), len(_TITLES), squeeze=False)
    for row, (first, *others) in zip(rows, axes, strict=True):
        z = _fullest_slice(row.truth if row.truth.any() else row.flair)
        box = (z, *_bounding_box(row.flair[z] != 0))
        first.imshow(row.t1ce[box], cmap="gray")
        first.set_ylabel(row.name, color="white")
        for axis, labels in zip(others, (None, row.truth, row.prediction), strict=True):
            axis.imshow(row.flair[box], cmap="gray")
            if labels is not None:
                _overlay(axis, labels[box])
    for axis, title in zip(axes[0], _TITLES, strict=True):
        axis.set_title(title, color="white")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    handles = [Patch(color=colour, label=tissue.name) for tissue, colour in _COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, labelcolor="white", frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _overlay(axis, labels: NDArray[np.integer]) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 (matplotlib's Axes)
    painted = np.ma.masked_equal(labels, Tissue.BACKGROUND)
    axis.imshow(
        painted, cmap=ListedColormap(list(_COLOURS.values())), vmin=1, vmax=3, alpha=0.55, interpolation="nearest"
    )


def _fullest_slice(volume: NDArray[np.integer]) -> int:
    return int(np.argmax(np.count_nonzero(volume, axis=(1, 2))))


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
