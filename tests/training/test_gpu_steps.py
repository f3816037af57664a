"""Epochs on a GPU: batches are augmented there, and no step is waited for. ``make test-gpu`` runs these."""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from preprocessed import write_training_data
from trainers import in_this_process, small, trainer

from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.training import variants
from nnunet_resunet_ds.training.epoch_steps import epoch_batches, run_steps

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
    pytest.mark.filterwarnings("ignore:.*empty chunks or blocks"),
]
RUNNING = SimpleNamespace(has_come=lambda: False, abortable=nullcontext)
"""A training that nobody ends."""


@contextmanager
def waiting_is_an_error():
    """But for events, which `to_host_later` waits for."""
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("modality_dropout", [0.0, 0.5])
@pytest.mark.parametrize("kind", [ResUNetDSTrainer, variants.ResUNetDSTrainerSGD])
def test_between_the_steps_of_an_epoch_nothing_waits_for_the_gpu(
    dataset, monkeypatch, kind, precision, modality_dropout
):
    in_this_process(monkeypatch)
    write_training_data(dataset[2])
    recipe = {"precision": precision, "modality_dropout": modality_dropout, "seed": 1}
    made = trainer(dataset, small(dataset[0], recipe=recipe), device=torch.device("cuda"), kind=kind)
    made.initialize()
    made.dataloader_train, made.dataloader_val = made.get_dataloaders()
    assert made.augmentation is not None
    made.on_train_epoch_start()
    run_steps(made.train_step, epoch_batches(made, made.dataloader_train, 3, "train", RUNNING), RUNNING)  # to warm up
    batches = epoch_batches(made, made.dataloader_train, 8, "train", RUNNING)
    with waiting_is_an_error():
        outputs = run_steps(made.train_step, batches, RUNNING)
    assert len(outputs) == 8 and np.isfinite([output["loss"] for output in outputs]).all()


def test_what_a_loading_process_gives_is_pinned(dataset, monkeypatch):
    """So that sending it does not wait; batchgenerators before 0.25.3 pinned no tensor of a list."""
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    write_training_data(dataset[2])
    made = trainer(dataset, small(dataset[0], recipe={"seed": 1}), device=torch.device("cuda"))
    made.initialize()
    made.dataloader_train, made.dataloader_val = made.get_dataloaders()
    try:
        batch = next(made.dataloader_train)
        tensors = [*batch["data"], *batch["target"]]
        assert tensors and all(tensor.is_pinned() for tensor in tensors)
    finally:
        for loader in (made.dataloader_train, made.dataloader_val):
            loader._finish()
