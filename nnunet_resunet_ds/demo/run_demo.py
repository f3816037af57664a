"""The demo: make phantoms, take them the whole way with the stock commands, and show what came out."""

import shutil
import time
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import check_output_folder
from nnunet_resunet_ds.base.nnunet_folders import NNUNET_FOLDERS
from nnunet_resunet_ds.demo.held_out import held_out_cases, score_held_out
from nnunet_resunet_ds.demo.phantom_cohort import make_cohort
from nnunet_resunet_ds.demo.workflow import Workflow

DATASET_ID = 999
DATASET_NAME = "Phantoms"
N_TRAINING = 15
N_HELD_OUT = 4
# A network that two cores train in about five minutes. The paper's would need days here.
PLAN_FLAGS = (
    "--patch-size", "40", "48", "48", "--features", "12", "24", "48", "96", "--lr", "2e-3",
    "--epochs", "18", "--iterations", "20", "--val-iterations", "10", "--plateau-patience", "1",
)  # fmt: skip

PHANTOMS = "phantoms"
OUTPUT_FOLDERS = (PHANTOMS, *NNUNET_FOLDERS, "predictions", "labels")
MARKER = ".resunet_ds_demo"


def demo(folder: Path, device: str = "cpu") -> dict[str, Any]:
    """Run the demo and return what ``summary.json`` holds.

    Args:
        folder: for everything it makes; what an earlier demo left there is replaced.
        device: ``cpu`` or ``cuda``.

    Raises:
        InputError: the folder holds something else, or there is no CUDA device where one is asked for.
    """
    start = time.monotonic()
    _check_device(device)
    _clear(folder)
    training, held_out, truth = make_cohort(folder / PHANTOMS, N_TRAINING, N_HELD_OUT)
    workflow = Workflow(folder, DATASET_ID, DATASET_NAME, device, fold="0")
    workflow.prepare([training, held_out], PLAN_FLAGS)
    workflow.train()
    workflow.predict()
    workflow.report(held_out, truth)
    return score_held_out(workflow, held_out_cases(held_out, truth), start)


def _check_device(device: str) -> None:
    if device == "cpu":
        return
    import torch  # noqa: PLC0415 (seconds, and only asked on the way to a GPU)

    if not torch.cuda.is_available():
        msg = "no CUDA device is available to PyTorch; run the demo without -device cuda"
        raise InputError(msg)


def _clear(folder: Path) -> None:
    """Remove what an earlier demo left, and only that: a folder is known by the marker that every demo begins with."""
    check_output_folder(folder)
    marker = folder / MARKER
    if folder.is_dir() and any(folder.iterdir()):
        if not marker.is_file():
            msg = f"{folder}: holds files that the demo did not make; choose another folder with -o"
            raise InputError(msg)
        for name in OUTPUT_FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text("Made by resunet-ds demo, which may replace its own folders here.\n", encoding="utf-8")
