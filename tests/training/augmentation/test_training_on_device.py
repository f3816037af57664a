"""Trainings on phantoms: as good as with nnU-Net's workers, and stopped and continued by the stock commands."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.training.logging.nnunet_logger import LocalLogger
from scipy.stats import ttest_ind
from stock_runs import command, run, run_here

from nnunet_resunet_ds import trainer as trainer_module
from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.training.checkpoint import checkpoint_names, checkpoints
from nnunet_resunet_ds.training.planning.adapted_plans import with_res_unet_ds

pytestmark = pytest.mark.long

SEEDS = (1, 2, 3)
EPOCHS, COMPARED = 5, 2
"""Dice is the mean over the last so many epochs."""
LEARNT = 0.4
"""Dice that a training reaches only if it learns; untrained it is below 0.1."""


# ---- as good as with workers ----


@pytest.fixture
def in_this_process(stock_dataset, monkeypatch):
    """The dataset of phantoms, loaded in this process, and no pictures: plans and dataset.json."""
    for name, value in stock_dataset.items():
        if name.startswith("nnUNet_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    for method in ("print_plans", "_save_debug_information", "plot_network_architecture"):
        monkeypatch.setattr(ResUNetDSTrainer, method, lambda *_: None)
    monkeypatch.setattr(LocalLogger, "plot_progress_png", lambda *_: None)
    monkeypatch.setattr(trainer_module, "add_heads_panel", lambda *_: None)
    folder = Path(stock_dataset["nnUNet_preprocessed"], "Dataset137_BraTS2021")
    return [json.loads((folder / name).read_text()) for name in ("nnUNetPlans.json", "dataset.json")]


def dice_of_training(plans, dataset_json, where, seed):
    """Train a small network and return its pseudo Dice on the validation cases."""
    recipe = {"epochs": EPOCHS, "iterations_per_epoch": 20, "val_iterations_per_epoch": 6, "initial_lr": 3e-3}
    recipe |= {"augmentation": where, "seed": seed}
    small = with_res_unet_ds(
        plans, "3d_fullres", patch_size=(24, 24, 24), features_per_stage=(8, 16, 24), recipe=recipe
    ).plans
    small |= {"continue_training": False, "plans_name": f"{where}{seed}"}
    made = ResUNetDSTrainer(small, "3d_fullres", 0, dataset_json, torch.device("cpu"))
    made.disable_checkpointing = True
    made.run_training()
    assert (made.augmentation is not None) == (where == "device")
    return np.mean(made.logger.get_value("mean_fg_dice", step=None)[-COMPARED:])


def test_no_difference_from_workers_beyond_that_of_seeds(in_this_process):
    """By Welch's test of three seeds each way, and by less than what would matter."""
    device, workers = (
        np.array([dice_of_training(*in_this_process, where, seed) for seed in SEEDS]) for where in ("device", "workers")
    )
    assert min(*device, *workers) > LEARNT, (device, workers)
    assert ttest_ind(device, workers, equal_var=False).pvalue > 0.01, (device, workers)
    assert abs(device.mean() - workers.mean()) < 0.1, (device, workers)


# ---- by the stock commands ----

TRAIN = ["nnUNetv2_train", "137", "3d_fullres", "0", "-tr", "ResUNetDSTrainer", "-p", "OnDevice", "-device", "cpu"]


def test_the_stock_command_trains_stops_and_goes_on_with_loading_processes(stock_dataset):
    run_here(
        stock_dataset, "plan", "-d", "137", "--name", "OnDevice", "--patch-size", "16", "16", "16",
        "--features", "4", "8", "--epochs", "3", "--iterations", "20", "--val-iterations", "2",
        "--augmentation", "device", "--seed", "5",
    )  # fmt: skip
    environment = {**stock_dataset, "nnUNet_n_proc_DA": "2"}
    process = subprocess.Popen(
        command(*TRAIN), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    printed = []
    for line in process.stdout:
        printed.append(line)
        if line.rstrip().endswith(": Epoch 1"):
            time.sleep(0.1)
            os.killpg(process.pid, signal.SIGTERM)  # as batch systems do: the loading processes, too
            break
    printed = "".join([*printed, process.stdout.read()])
    assert process.wait() == 143, printed[-3000:]
    assert "Augmentation on cpu." in printed and "SIGTERM: saved in epoch 1" in printed
    continued = run(environment, *TRAIN, "--c")
    assert "Validation complete" in continued and "Traceback" not in continued
    model = Path(environment["nnUNet_results"], "Dataset137_BraTS2021", "ResUNetDSTrainer__OnDevice__3d_fullres")
    final = checkpoints.read_checkpoint(model / "fold_0" / checkpoint_names.FINAL)
    assert final["current_epoch"] == 3 and np.isfinite(final["logging"]["train_losses"]).all()
