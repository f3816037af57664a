"""Trainers on made-up plans, for the tests of training."""

import json
from copy import deepcopy

import torch
from nnunetv2.training.logging.nnunet_logger import LocalLogger

from nnunet_resunet_ds import trainer as trainer_module
from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.training.planning.adapted_plans import with_res_unet_ds

CPU = torch.device("cpu")


def in_this_process(monkeypatch):
    """Let trainings load in this process, and draw and print nothing."""
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    for name in ("print_plans", "_save_debug_information", "plot_network_architecture"):
        monkeypatch.setattr(ResUNetDSTrainer, name, lambda _: None)
    monkeypatch.setattr(LocalLogger, "plot_progress_png", lambda *_: None)
    monkeypatch.setattr(trainer_module, "add_heads_panel", lambda *_: None)


def small(plans, **settings):
    return with_res_unet_ds(
        plans, "3d_fullres", patch_size=(16, 16, 16), features_per_stage=(4, 8, 12), **settings
    ).plans


def trainer(
    dataset, plans=None, configuration="3d_fullres", dataset_json=None, fold=0, kind=ResUNetDSTrainer, device=CPU
):
    """Make a trainer of a kind, on the plans and dataset.json of the fixture or on others."""
    dataset_json = dataset_json or dataset[1]
    file = dataset[2] / "dataset.json"
    if json.loads(file.read_text()) != dataset_json:  # another rank may be reading it
        file.write_text(json.dumps(dataset_json))
    plans = deepcopy(plans or dataset[0]) | {"continue_training": False}  # nnU-Net takes this entry out
    return kind(plans, configuration, fold, dataset_json, device)
