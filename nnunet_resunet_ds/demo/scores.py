"""What came out of a workflow: Dice of held-out cases, a picture and ``summary.json``."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from dataset_conversion.edition import CHANNEL_NAMES, FILE_ENDING
from dataset_conversion.labels import nnunet_labels
from nnunet_resunet_ds.base.files import write_json
from nnunet_resunet_ds.base.images import read_image, read_labels
from nnunet_resunet_ds.base.regions import REGIONS
from nnunet_resunet_ds.demo.cohort import EDITION
from nnunet_resunet_ds.demo.figure import Row, save_figure
from nnunet_resunet_ds.demo.workflow import Workflow
from nnunet_resunet_ds.evaluation.dice import mean_region_dice, region_dice

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
    from nnunet_resunet_ds.demo.untrained import untrained_labels  # noqa: PLC0415 (imports torch, seconds)

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
