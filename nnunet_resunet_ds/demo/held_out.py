"""Score and show the held-out cases: Dice, ``summary.json``, a picture, and the untrained network under them."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from numpy.typing import NDArray

from dataset_conversion.editions import CHANNEL_NAMES, FILE_ENDING
from dataset_conversion.labels import nnunet_labels
from nnunet_resunet_ds.base.files import read_json, replacing, write_json
from nnunet_resunet_ds.base.images import read_image, read_labels
from nnunet_resunet_ds.base.regions import REGIONS, Tissue
from nnunet_resunet_ds.demo.phantom_cohort import EDITION
from nnunet_resunet_ds.demo.workflow import CONFIGURATION, TRAINER, Workflow
from nnunet_resunet_ds.evaluation.dice import mean_region_dice, region_dice
from nnunet_resunet_ds.trainer import ResUNetDSTrainer


def untrained_labels(model_folder: Path, cases: list[list[Path]], device: str) -> Iterator[NDArray[np.integer]]:
    """Yield the label map (Z, Y, X) of each case from randomly initialised weights, by stock nnU-Net prediction.

    Args:
        model_folder: of the trained model; only its plans and dataset.json are read.
        cases: the four image files of each case.
        device: ``cpu`` or ``cuda``.
    """
    torch.manual_seed(0)
    plans = PlansManager(read_json(model_folder / "plans.json"))
    configuration = plans.get_configuration(CONFIGURATION)
    dataset_json = read_json(model_folder / "dataset.json")
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


Labels = NDArray[np.integer]
Scores = dict[str, float]
"""Mean Dice by region name."""

SUMMARY = "summary.json"
PICTURE = "demo.png"
ROWS_IN_PICTURE = 3
_TRUTH_ENDING = EDITION.segmentation_suffix + FILE_ENDING


@dataclass(frozen=True)
class HeldOutCase:
    """A case that was predicted, and its truth."""

    case_id: str
    images: dict[str, Path]
    """Channel name → raw file, in channel order."""
    truth: Labels
    """(Z, Y, X) in nnU-Net's values."""


def held_out_cases(images: Path, truth: Path) -> list[HeldOutCase]:
    """Pair raw case folders in the BraTS 2021 layout with a folder of ``CASE_seg.nii.gz``, at any depth."""
    cases = []
    for file in sorted(truth.rglob(f"*{_TRUTH_ENDING}")):
        case = file.name.removesuffix(_TRUTH_ENDING)
        paths = {channel: images / case / EDITION.file_name(case, channel) for channel in CHANNEL_NAMES}
        cases.append(HeldOutCase(case, paths, nnunet_labels(read_labels(file)[1], EDITION.tissues)))
    return cases


def score_held_out(workflow: Workflow, cases: Sequence[HeldOutCase], start: float) -> dict[str, Any]:
    """Score the cases before and after post-processing and untrained; write picture and summary.

    Args:
        workflow: after prediction.
        cases: what it predicted.
        start: ``time.monotonic()`` when the run began.

    Returns:
        What ``summary.json`` holds.
    """
    after = [_labels(workflow.labels, case) for case in cases]
    scores = {
        "untrained": _mean_dice(
            cases,
            untrained_labels(workflow.model_folder, [list(case.images.values()) for case in cases], workflow.device),
        ),
        "before": _mean_dice(cases, (_labels(workflow.predictions, case) for case in cases)),
        "after": _mean_dice(cases, after),
    }
    picture = workflow.folder / PICTURE
    save_figure([_row(case, labels) for case, labels in zip(cases, after, strict=True)][:ROWS_IN_PICTURE], picture)
    summary = {
        "dice": {"before": scores["before"], "after": scores["after"]},
        "untrained_dice": scores["untrained"],
        "cases": [case.case_id for case in cases],
        "seconds": round(time.monotonic() - start, 1),
    }
    write_json(summary, workflow.folder / SUMMARY)
    return summary


def table(summary: Mapping[str, Any]) -> str:
    """Lay the mean Dice of a summary out as text, a region a row."""
    titles = {"untrained": "untrained", "before": "before post-processing", "after": "after"}
    scores = {"untrained": summary["untrained_dice"], **summary["dice"]}
    n_cases = len(summary["cases"])
    lines = [f"Dice, mean of {n_cases} held-out cases", "  ".join(["region", *titles.values()])]
    for region in REGIONS:
        values = [f"{scores[name][region.name]:>{len(title)}.4f}" for name, title in titles.items()]
        lines.append("  ".join([f"{region.name:6}", *values]))
    return "\n".join(lines)


def _mean_dice(cases: Iterable[HeldOutCase], predictions: Iterable[Labels]) -> Scores:
    return mean_region_dice(region_dice(case.truth, found) for case, found in zip(cases, predictions, strict=True))


def _row(case: HeldOutCase, prediction: Labels) -> Row:
    t1ce, flair = (sitk.GetArrayFromImage(read_image(case.images[name])) for name in ("T1ce", "FLAIR"))
    return Row(case.case_id, t1ce, flair, case.truth, prediction)


def _labels(folder: Path, case: HeldOutCase) -> Labels:
    return read_labels(folder / f"{case.case_id}{FILE_ENDING}")[1]
