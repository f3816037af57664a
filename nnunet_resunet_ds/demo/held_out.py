"""Score the held-out cases of the demo: Dice before and after post-processing and untrained, and a picture."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from dataset_conversion.editions import CHANNEL_NAMES
from dataset_conversion.labels import nnunet_labels
from nnunet_resunet_ds.base.files import FILE_ENDING, read_json, replacing, write_json
from nnunet_resunet_ds.base.images import read_image, read_labels
from nnunet_resunet_ds.base.model_id import CONFIGURATION, TRAINER
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS_JSON
from nnunet_resunet_ds.base.regions import REGIONS, Tissue
from nnunet_resunet_ds.base.text_table import aligned
from nnunet_resunet_ds.demo.phantom import EDITION
from nnunet_resunet_ds.evaluation.dice import mean_region_dice, region_dice

Labels = NDArray[np.integer]
Scores = dict[str, float]
"""Mean Dice by region name."""

SUMMARY = "summary.json"
PICTURE = "demo.png"
ROWS_IN_PICTURE = 3
_TRUTH_ENDING = EDITION.segmentation_suffix + FILE_ENDING
_COLOURS = {Tissue.ED: "#4daf4a", Tissue.NCR: "#377eb8", Tissue.ET: "#ffd92f"}
_TITLES = ("T1ce", "FLAIR", "truth", "prediction")


@dataclass(frozen=True)
class HeldOutCase:
    """A predicted case and its truth."""

    case_id: str
    images: dict[str, Path]
    """Channel name → raw file, in channel order."""
    truth: Labels
    """(Z, Y, X) in nnU-Net's values."""


@dataclass(frozen=True)
class Row:
    """One row of the picture; all (Z, Y, X), labels in nnU-Net's values."""

    name: str
    t1ce: NDArray[np.integer]
    flair: NDArray[np.integer]
    truth: NDArray[np.integer]
    prediction: NDArray[np.integer]


def held_out_cases(images: Path, truth: Path) -> list[HeldOutCase]:
    """Pair raw case folders in the BraTS 2021 layout with a folder of ``CASE_seg.nii.gz``, at any depth."""
    cases = []
    for file in sorted(truth.rglob(f"*{_TRUTH_ENDING}")):
        case = file.name.removesuffix(_TRUTH_ENDING)
        paths = {channel: images / case / EDITION.file_name(case, channel) for channel in CHANNEL_NAMES}
        cases.append(HeldOutCase(case, paths, nnunet_labels(read_labels(file)[1], EDITION.tissues)))
    return cases


def score_held_out(
    cases: Sequence[HeldOutCase],
    *,
    model_folder: Path,
    predictions: Path,
    labels: Path,
    output: Path,
    device: str,
    start: float,
) -> dict[str, Any]:
    """Score the cases before and after post-processing and untrained; write picture and summary.

    Args:
        cases: that were predicted.
        model_folder: of the trained model.
        predictions: label maps before post-processing.
        labels: label maps after it.
        output: folder of picture and summary.
        device: ``cpu`` or ``cuda``.
        start: ``time.monotonic()`` when the run began.

    Returns:
        The content of ``summary.json``.
    """
    after = [_labels(labels, case) for case in cases]
    untrained = untrained_labels(model_folder, [list(case.images.values()) for case in cases], device)
    rows = [_row(case, of_case) for case, of_case in zip(cases, after, strict=True)]
    save_figure(rows[:ROWS_IN_PICTURE], output / PICTURE)
    summary = {
        "dice": {
            "before": _mean_dice(cases, (_labels(predictions, case) for case in cases)),
            "after": _mean_dice(cases, after),
        },
        "untrained_dice": _mean_dice(cases, untrained),
        "cases": [case.case_id for case in cases],
        "seconds": round(time.monotonic() - start, 1),
    }
    write_json(summary, output / SUMMARY)
    return summary


def score_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the mean Dice of a summary as a table of text, with one line for each region."""
    columns = {
        "untrained": summary["untrained_dice"],
        "before post-processing": summary["dice"]["before"],
        "after": summary["dice"]["after"],
    }
    rows = [[region.name, *(f"{scores[region.name]:.4f}" for scores in columns.values())] for region in REGIONS]
    title = f"Dice, mean of {len(summary['cases'])} held-out cases"
    return [title, *aligned([["region", *columns], *rows], numbers_from=1)]


def _mean_dice(cases: Iterable[HeldOutCase], predictions: Iterable[Labels]) -> Scores:
    return mean_region_dice(region_dice(case.truth, found) for case, found in zip(cases, predictions, strict=True))


def _row(case: HeldOutCase, prediction: Labels) -> Row:
    t1ce, flair = (sitk.GetArrayFromImage(read_image(case.images[name])) for name in ("T1ce", "FLAIR"))
    return Row(case.case_id, t1ce, flair, case.truth, prediction)


def _labels(folder: Path, case: HeldOutCase) -> Labels:
    return read_labels(folder / f"{case.case_id}{FILE_ENDING}")[1]


def untrained_labels(model_folder: Path, cases: list[list[Path]], device: str) -> Iterator[NDArray[np.integer]]:
    """Yield the label map (Z, Y, X) of each case from randomly initialised weights, by stock nnU-Net prediction.

    Args:
        model_folder: of the trained model; only its plans and dataset.json are read.
        cases: the four image files of each case.
        device: ``cpu`` or ``cuda``.
    """
    import torch  # noqa: PLC0415 (seconds and much memory, which the training before has better use for)
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # noqa: PLC0415
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager  # noqa: PLC0415

    from nnunet_resunet_ds.trainer import ResUNetDSTrainer  # noqa: PLC0415

    torch.manual_seed(0)
    plans = PlansManager(read_json(model_folder / PLANS_JSON))
    configuration = plans.get_configuration(CONFIGURATION)
    dataset_json = read_json(model_folder / DATASET_JSON)
    n_outputs = plans.get_label_manager(dataset_json).num_segmentation_heads
    network = ResUNetDSTrainer.build_network_architecture(
        plans, configuration, len(cases[0]), n_outputs, enable_deep_supervision=False
    )
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=device != "cpu", device=torch.device(device), allow_tqdm=False
    )
    predictor.manual_initialization(
        network,
        plans,
        configuration,
        [network.state_dict()],
        dataset_json,
        TRAINER,
        inference_allowed_mirroring_axes=None,
    )
    reader = plans.image_reader_writer_class()
    for files in cases:
        images, properties = reader.read_images([str(file) for file in files])
        yield predictor.predict_single_npy_array(images, properties)


def save_figure(rows: Sequence[Row], path: Path) -> None:
    """Write a PNG with a row for each case: its axial slice with most tumour."""
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
