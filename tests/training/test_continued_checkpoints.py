"""Which checkpoints a training goes on from, which it refuses, and what they hold."""

import json

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from scripted_training import FINGERPRINT, Killed, Scripted, log_of, starter, undisturbed
from trainers import small

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.training.checkpoint import checkpoint_names, checkpoints
from nnunet_resunet_ds.training.variants import ResUNetDSTrainerBCE, ResUNetDSTrainerDepth6


@pytest.fixture
def start(dataset, monkeypatch):
    return starter(dataset, monkeypatch)


def bring(made, other):
    """Bring the final checkpoint of one training into the folder of another."""
    other.output_folder_path.joinpath(checkpoint_names.FINAL).write_bytes(
        made.output_folder_path.joinpath(checkpoint_names.FINAL).read_bytes()
    )


def test_a_corrupt_latest_falls_back_and_says_so(start):
    made = start()
    made.during_step = lambda trainer: trainer.current_epoch == 11 and (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        made.run_training()
    latest = made.output_folder_path / checkpoint_names.LATEST
    latest.write_bytes(latest.read_bytes()[:1000])
    resumed = start(continued=True)
    assert resumed.current_epoch == 11  # from checkpoint_best, whose Dice has risen in every epoch
    assert "Passed over" in log_of(resumed) and "checkpoint_latest.pth: damaged" in log_of(resumed)


def test_no_space_for_a_checkpoint_leaves_the_earlier(start, monkeypatch):
    made = start()
    save = torch.save

    def full(content, file):
        save(content, "/dev/full" if content["current_epoch"] == 4 else file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="earlier checkpoint is intact"):
        made.run_training()
    assert checkpoints.read_checkpoint(made.output_folder_path / checkpoint_names.BEST_LOSS)["current_epoch"] == 2


class ScriptedBCE(Scripted, ResUNetDSTrainerBCE):
    pass


class ScriptedDepth6(Scripted, ResUNetDSTrainerDepth6):
    pass


@pytest.mark.parametrize("kind", [ScriptedBCE, ScriptedDepth6])
def test_a_checkpoint_of_another_variant_is_refused(start, kind):
    made = undisturbed(start)
    bring(made, start(kind=kind))
    with pytest.raises(InputError, match=r"was made by Scripted, not .*; continue it with -tr Scripted"):
        start(kind=kind, continued=True)


def test_a_checkpoint_of_another_width_is_refused(start, dataset):
    made = undisturbed(start)
    wider = json.loads(json.dumps(small(dataset[0])))
    arch = wider["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    arch["features_per_stage"] = [8, 16, 24]
    with pytest.raises(InputError, match=r"checkpoint_final\.pth: its weights are of another network \(encoder.* is"):
        start(continued=True, plans=wider)
    assert made.finished


def test_a_checkpoint_of_another_trainer_gives_its_weights(start):
    """One that stock nnU-Net made with our network has SGD's state and no schedule."""
    made = start()
    made.initialize()
    weights = {name: torch.full_like(values, 2) for name, values in made.plain_network.state_dict().items()}
    stock = {"network_weights": weights, "optimizer_state": {}, "current_epoch": 30, "trainer_name": "nnUNetTrainer"}
    torch.save(stock, made.output_folder_path / checkpoint_names.LATEST)
    resumed = start(continued=True)
    assert resumed.current_epoch == 0
    assert resumed.plain_network.state_dict()[FINGERPRINT].tolist() == [2] * 3
    assert "made by nnUNetTrainer: only its weights are taken" in log_of(resumed)


def test_checkpoints_can_be_switched_off(start):
    made = start()
    made.disable_checkpointing = True
    made.run_training()
    assert list(made.output_folder_path.glob("*.pth")) == []
    assert "The last epoch's weights are final" in log_of(made)


def test_our_checkpoints_have_all_that_nnunet_s_have(start, monkeypatch):
    made = undisturbed(start)
    ours = checkpoints.read_checkpoint(made.output_folder_path / checkpoint_names.FINAL)
    stock = {}
    monkeypatch.setattr(torch, "save", lambda content, _: stock.update(content))
    nnUNetTrainer.save_checkpoint(made, "nowhere")
    assert ours.keys() == stock.keys() | {"resunet_ds"}
