"""Trainings of two ranks, over Gloo on a CPU: they decide, stop, go on and end alike."""

import os
import signal
from pathlib import Path

import pytest
import torch
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as nnunet_trainer
from preprocessed import write_training_data
from scripted_training import N_HEADS, Scripted
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from trainers import CPU, in_this_process, small, trainer

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.training.checkpoint import checkpoint_names, checkpoints
from nnunet_resunet_ds.training.ranks import on_any_rank
from nnunet_resunet_ds.training.schedule import PlateauSchedule

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:.*empty chunks or blocks")]


def on_two_ranks(work, folder, *arguments):
    """Run work(rank, *arguments) in two processes that belong to one group."""
    torch.multiprocessing.spawn(in_group, (work, folder, *arguments), nprocs=2)
    assert len(list(folder.glob("done_*"))) == 2


def in_group(rank, work, folder, *arguments):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    work(rank, *arguments)
    distributed.barrier()
    distributed.destroy_process_group()
    (folder / f"done_{rank}").touch()


# ---- decisions ----


class OnTheCPU:
    """Keeps a trainer of several ranks on the CPU; nnU-Net sends each to a GPU of its own."""

    device = property(lambda _: CPU, lambda *_: None)


class ScriptedRank(OnTheCPU, Scripted):
    pass


def decide(rank, dataset):
    """Let each rank have another loss, and only one of them get SIGTERM."""
    made = trainer(dataset, small(dataset[0]), kind=ScriptedRank)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    made.lr_scheduler = PlateauSchedule(optimizer, factor=0.5, patience=0, stopping_patience=2)
    decisions = []
    for epoch, losses in enumerate([(0.5, 0.7), (0.1, 1.2), (0.9, 0.2), (0.6, 0.6)]):
        made.current_epoch, made.losses = epoch, {epoch: losses[rank]}
        made.on_validation_epoch_end([made.validation_step({})])
        decisions.append([made._loss_improved, made.lr_scheduler.should_stop, optimizer.param_groups[0]["lr"]])
    assert decisions == [[True, False, 1.0], [False, False, 0.5], [True, False, 0.5], [False, False, 0.25]]
    assert made.logger.get_value("head_losses", step=0) == [0.6] * N_HEADS
    assert on_any_rank(rank == 1) and not on_any_rank(False)


def test_ranks_decide_alike(dataset, tmp_path):
    on_two_ranks(decide, tmp_path, dataset)


def need_a_sample_each(rank, dataset):
    plans = small(dataset[0], batch_size=1)
    with pytest.raises(InputError, match=r"a batch of 1 is too small for 2 GPUs.* -num_gpus 1, or .* --batch-size 2$"):
        trainer(dataset, plans, kind=ScriptedRank).initialize()


def test_a_batch_of_fewer_samples_than_ranks_is_refused(dataset, tmp_path):
    on_two_ranks(need_a_sample_each, tmp_path, dataset)


# ---- a training ----


class Rank(OnTheCPU, ResUNetDSTrainer):
    terminated_in: tuple[int, int] | None = None
    """The rank and epoch in which SIGTERM comes."""

    def train_step(self, batch):
        if (self.local_rank, self.current_epoch) == self.terminated_in:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().train_step(batch)


def same_on_all_ranks(values):
    gathered = [torch.empty_like(values) for _ in range(2)]
    distributed.all_gather(gathered, values)
    return torch.equal(*gathered)


def weights_of(made):
    return joined(made.plain_network.state_dict())


def joined(weights):
    return torch.cat([values.detach().reshape(-1) for values in weights.values()])


def train(rank, dataset, plans):
    """Stop in the second epoch, because of a signal to the second rank alone, and go on to the end."""
    with pytest.MonkeyPatch.context() as patch:
        in_this_process(patch)
        patch.setattr(nnunet_trainer, "DDP", lambda network, device_ids: DistributedDataParallel(network))
        stopped = trainer(dataset, plans, kind=Rank)
        stopped.terminated_in = (1, 1)
        said = []
        patch.setattr(Rank, "print_to_log_file", lambda _, *words, **__: said.append(" ".join(map(str, words))))
        with pytest.raises(SystemExit, match="143"):
            stopped.run_training()
        assert any("SIGTERM: saved in epoch 1" in line for line in said) == (rank == 0)
        assert isinstance(stopped.network, DistributedDataParallel)
        assert stopped.current_epoch == 1 and stopped.batch_size == 1
        assert not same_on_all_ranks(torch.tensor(stopped.augmentation._entropy))
        assert same_on_all_ranks(weights_of(stopped))
        made = trainer(dataset, plans, kind=Rank)
        maybe_load_checkpoint(made, continue_training=True, validation_only=False)
        assert made.restored and made.current_epoch == 1
        made.run_training()
        assert made.finished and same_on_all_ranks(weights_of(made))
    final = checkpoints.read_checkpoint(Path(made.output_folder, checkpoint_names.FINAL))
    assert torch.equal(
        torch.cat([values.reshape(-1) for values in final["network_weights"].values()]), weights_of(made)
    )
    log = final["logging"]
    assert len(log["train_losses"]) == len(log["val_losses"]) == 3
    assert same_on_all_ranks(torch.tensor(log["val_losses"]))


def test_a_training_that_augments_on_its_devices_stops_goes_on_and_ends_alike(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    write_training_data(dataset[2])
    recipe = {
        "epochs": 3,
        "iterations_per_epoch": 3,
        "val_iterations_per_epoch": 1,
        "augmentation": "device",
        "seed": 3,
    }
    on_two_ranks(train, tmp_path, dataset, small(dataset[0], recipe=recipe))
