"""Run the demo: make phantoms, run the stock commands on them, and show the results."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataset_conversion.editions import CHANNEL_NAMES
from dataset_conversion.image_cases import find_prediction_cases
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import check_output_folder
from nnunet_resunet_ds.base.model_id import CONFIGURATION, TRAINER, ModelId
from nnunet_resunet_ds.base.nnunet_folders import NNUNET_FOLDERS
from nnunet_resunet_ds.demo.held_out import held_out_cases, score_held_out
from nnunet_resunet_ds.demo.phantom import make_cohort
from nnunet_resunet_ds.demo.stock_commands import StockCommands
from nnunet_resunet_ds.training.planning.plan_writing import DEFAULT_NAME

DATASET_ID = 999
DATASET_NAME = "Phantoms"
FOLD = "0"
N_TRAINING = 15
N_HELD_OUT = 4
PLAN_FLAGS = (
    "--patch-size", "40", "48", "48", "--features", "12", "24", "48", "96", "--lr", "5e-3",
    "--epochs", "12", "--iterations", "20", "--val-iterations", "5", "--plateau-patience", "1",
)  # fmt: skip
"""A network that two cores train in about four minutes; the paper's would take days."""
_CPU_TRAINING = {"nnUNet_def_n_proc": "2", "nnUNet_n_proc_DA": "0"}

PHANTOMS, PREDICTIONS, LABELS, REAL_CASE = "phantoms", "predictions", "labels", "real_case"
OUTPUT_FOLDERS = (PHANTOMS, *NNUNET_FOLDERS, PREDICTIONS, LABELS, REAL_CASE)
METRICS, REPORT, REAL_REPORT = "metrics.json", "report.html", "real_case.html"
MARKER = ".resunet_ds_demo"
"""File by which a later demo knows that it may replace what is in the folder."""


def demo(folder: Path, device: str = "cpu", case: Path | None = None) -> dict[str, Any]:
    """Run the demo and return the content of ``summary.json``.

    Args:
        folder: for everything it makes; the output of an earlier demo is replaced.
        device: ``cpu`` or ``cuda``.
        case: folder of a real case in the layout of any BraTS edition, which the starter model predicts at the end.

    Raises:
        InputError: the folder holds something else, there is no CUDA device where one is asked for, or no case in its
            folder.
    """
    start = time.monotonic()
    _check_device(device)
    if case is not None:
        _check_case(case, folder)  # before minutes have gone by
    _clear(folder)
    training, held_out, truth = make_cohort(folder / PHANTOMS, N_TRAINING, N_HELD_OUT)
    workflow = Workflow(folder, device)
    workflow.prepare([training, held_out])
    workflow.train()
    workflow.predict()
    workflow.report(held_out, truth)
    summary = score_held_out(
        held_out_cases(held_out, truth),
        model_folder=workflow.model_folder,
        predictions=workflow.predictions,
        labels=workflow.labels,
        output=folder,
        device=device,
        start=start,
    )
    if case is not None:
        workflow.show_real_case(case)
    return summary


def _check_device(device: str) -> None:
    if device == "cpu":
        return
    import torch  # noqa: PLC0415 (takes seconds)

    if not torch.cuda.is_available():
        msg = "no CUDA device is available to PyTorch; run the demo without -device cuda"
        raise InputError(msg)


def _check_case(case: Path, folder: Path) -> None:
    """Refuse what is not one case, or is in the way of the demo's own files."""
    found = find_prediction_cases([case], CHANNEL_NAMES).cases
    if len(found) != 1:
        msg = f"{case}: holds {len(found)} cases; give the folder of one (resunet-ds predict takes many)"
        raise InputError(msg)
    if case.resolve().is_relative_to(folder.resolve()):
        msg = f"{case}: lies in the demo's own folder {folder}, which is cleared; move it, or choose another -o"
        raise InputError(msg)


def _clear(folder: Path) -> None:
    """Remove the output of an earlier demo, and only that: its folder has the marker."""
    check_output_folder(folder)
    marker = folder / MARKER
    if folder.is_dir() and any(folder.iterdir()):
        if not marker.is_file():
            msg = f"{folder}: holds files that the demo did not make; choose another folder with -o"
            raise InputError(msg)
        for name in OUTPUT_FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
        (folder / REAL_REPORT).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text("Made by resunet-ds demo, which may replace its own folders here.\n", encoding="utf-8")


@dataclass(frozen=True)
class Workflow:
    """The commands from raw BraTS cases to a report, with nnU-Net's folders below ``folder``; each is printed."""

    folder: Path
    device: str
    """``cpu`` or ``cuda``, as nnU-Net's ``-device``."""

    @property
    def _commands(self) -> StockCommands:
        return StockCommands(self.folder)

    @property
    def predictions(self) -> Path:
        """Stock label maps and probabilities."""
        return self.folder / PREDICTIONS

    @property
    def labels(self) -> Path:
        """Post-processed label maps."""
        return self.folder / LABELS

    @property
    def dataset(self) -> str:
        """Name of nnU-Net's dataset."""
        return f"Dataset{DATASET_ID:03d}_{DATASET_NAME}"

    @property
    def model_folder(self) -> Path:
        """nnU-Net's folder of the trained model."""
        return ModelId(dataset=self.dataset, plans=DEFAULT_NAME).folder(self.folder / "nnUNet_results")

    def prepare(self, inputs: Sequence[Path]) -> None:
        """Convert, plan and preprocess, and write plans of a small network."""
        self._commands.make_folders()
        self._commands.run("resunet-ds", "convert", *map(str, inputs), "-d", str(DATASET_ID), "-n", DATASET_NAME)
        self._commands.run(
            "nnUNetv2_plan_and_preprocess", "-d", str(DATASET_ID), "-c", CONFIGURATION, "-npfp", "2", "-np", "2"
        )
        self._commands.run("resunet-ds", "plan", "-d", str(DATASET_ID), *PLAN_FLAGS)

    def train(self) -> None:
        """Train one fold, with nnU-Net's own validation at the end."""
        self._commands.run(
            "nnUNetv2_train", str(DATASET_ID), CONFIGURATION, FOLD,
            "-tr", TRAINER, "-p", DEFAULT_NAME, "-device", self.device,
            settings=_CPU_TRAINING if self.device == "cpu" else {},
        )  # fmt: skip

    def predict(self) -> None:
        """Predict every case of ``imagesTs``, and post-process."""
        images = self.folder / "nnUNet_raw" / self.dataset / "imagesTs"
        self._commands.run(
            "nnUNetv2_predict", "-d", str(DATASET_ID), "-i", str(images), "-o", str(self.predictions),
            "-c", CONFIGURATION, "-f", FOLD, "-tr", TRAINER, "-p", DEFAULT_NAME, "-device", self.device,
            "--save_probabilities", "-npp", "1", "-nps", "1",
        )  # fmt: skip
        self._commands.run("resunet-ds", "postprocess", "-i", str(self.predictions), "-o", str(self.labels))

    def report(self, images: Path, truth: Path) -> None:
        """Evaluate the post-processed label maps, and write a report.

        Args:
            images: raw cases that were predicted.
            truth: their references, in the release's names and values.
        """
        compared = ("-pred", str(self.labels), "-ref", str(truth))
        metrics = str(self.folder / METRICS)
        self._commands.run("resunet-ds", "evaluate", *compared, "-o", metrics)
        self._commands.run(
            "resunet-ds", "report", "-i", str(images), *compared, "--metrics", metrics,
            "--before", str(self.predictions), "-o", str(self.folder / REPORT),
        )  # fmt: skip

    def show_real_case(self, case: Path) -> None:
        """Predict a real case with the starter model, and write a report about it."""
        labels = str(self.folder / REAL_CASE)
        self._commands.run("resunet-ds", "predict", "-i", str(case), "-o", labels, "-device", self.device)
        report = str(self.folder / REAL_REPORT)
        self._commands.run("resunet-ds", "report", "-i", str(case), "-pred", labels, "-o", report)
