"""Trainings that are stopped and continued, with scripted losses: they end as one that was never stopped.

Only the steps are made up: loop, schedule, logger, checkpoints and the choice of a checkpoint under ``--c`` are real.
"""

import itertools
import json
import os
import signal

import numpy as np
import pytest
import torch
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.logging.nnunet_logger import LocalLogger
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import distributed
from trainers import small, trainer

from nnunet_resunet_ds import trainer as trainer_module
from nnunet_resunet_ds.base.errors import InputError, TrainingError
from nnunet_resunet_ds.base.files import remove_half_written
from nnunet_resunet_ds.base.signals import sigterm_noted
from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.training import checkpoints, resumable
from nnunet_resunet_ds.training.schedule import PlateauSchedule
from nnunet_resunet_ds.training.variants import ResUNetDSTrainerBCE, ResUNetDSTrainerDepth6, ResUNetDSTrainerSGD

LOSSES = [0.9, 0.7, 0.71, 0.6, 0.65, 0.64, 0.63, 0.5, 0.55, 0.56, 0.57, 0.58, 0.59, 0.6, 0.61, 0.62, 0.63, 0.64, 0.1]
"""The rate falls twice, the best epoch is 7, and ten epochs later training stops: the 0.1 is never seen."""
BEST_EPOCH, STOPPED_AFTER = 7, 18
FILES = ["checkpoint_best.pth", "checkpoint_best_loss.pth", "checkpoint_final.pth", "heads.csv", "run.json"]
"""That a finished training leaves, beside log and picture."""
FINGERPRINT = "decoder.seg_layers.1.bias"
N_HEADS = 2


class Killed(BaseException):
    """As kill -9: nothing of the trainer's handles it."""


class Scripted(ResUNetDSTrainer):
    """Its steps are made up: the loss of an epoch is written down, and a weight tells in which epoch it was made."""

    losses = LOSSES
    during_step = staticmethod(lambda trainer: None)

    def on_train_start(self):
        if not self.was_initialized:
            self.initialize()
        remove_half_written(self.output_folder_path, "*")
        self.dataloader_train = self.dataloader_val = itertools.repeat({"keys": ["case_a", "case_b"]})

    @property
    def output_folder_path(self):
        return resumable.Path(self.output_folder)

    def train_step(self, batch):
        self.during_step(self)
        self.plain_network.state_dict()[FINGERPRINT].fill_(self.current_epoch)
        return {"loss": np.array(self.losses[self.current_epoch])}

    def validation_step(self, batch):
        loss = self.losses[self.current_epoch]
        counts = {name: np.ones((N_HEADS, 3)) for name in ("fp", "fn")}
        counts["tp"] = np.full((N_HEADS, 3), 2.0 - loss)  # so that checkpoint_best is written in many epochs
        finest = {f"{name}_hard": values[0] for name, values in counts.items()}
        return {"loss": np.array(loss), "head_losses": np.full(N_HEADS, loss), **counts, **finest}


@pytest.fixture
def start(dataset, monkeypatch):
    """Return a function that makes a trainer as nnUNetv2_train does, with --c or without."""
    (dataset[2] / "nnUNetPlans_3d_fullres").mkdir()
    (dataset[2] / "nnUNetPlans_3d_fullres" / "case_a.b2nd").touch()  # tells nnU-Net the format
    monkeypatch.setattr(LocalLogger, "plot_progress_png", lambda *_: None)
    monkeypatch.setattr(trainer_module, "add_heads_panel", lambda *_: None)
    plans = small(dataset[0], recipe={"epochs": 40, "iterations_per_epoch": 2, "val_iterations_per_epoch": 1})

    def make(continued=False, kind=Scripted, validation_only=False, plans=plans):
        made = trainer(dataset, plans, kind=kind)
        maybe_load_checkpoint(made, continued, validation_only)
        return made

    return make


def trace(made):
    """What must be the same whether a training was stopped or not."""
    log = made.logger.get_checkpoint()
    final = checkpoints.read_checkpoint(made.output_folder_path / checkpoints.FINAL)
    return {
        "rates": log["lrs"],
        "losses": log["val_losses"],
        "smoothed dice": log["ema_fg_dice"],
        "heads": log["head_losses"],
        "best": (made.lr_scheduler.best_epoch, made.lr_scheduler.best_loss),
        "epochs": final["current_epoch"],
        "weights": final["network_weights"][FINGERPRINT].tolist(),
        "weights here": made.plain_network.state_dict()[FINGERPRINT].tolist(),
        "files": sorted({path.name for path in made.output_folder_path.iterdir() if path.suffix != ".txt"}),
    }


def log_of(made):
    return "".join(path.read_text() for path in sorted(made.output_folder_path.glob("training_log*")))


def undisturbed(start):
    made = start()
    made.run_training()
    return made


def test_it_stops_early_and_the_best_epoch_is_final(start):
    made = undisturbed(start)
    found = trace(made)
    rates = [1e-4] * 14 + [0.5e-4] * 4  # the plateau after epoch 7 is six epochs long at epoch 13
    assert found["rates"] == pytest.approx(rates)
    assert found["losses"] == LOSSES[:STOPPED_AFTER]
    assert found["best"] == (BEST_EPOCH, 0.5)
    assert found["weights"] == found["weights here"] == [BEST_EPOCH] * 3
    assert found["files"] == FILES
    assert f"Epoch {BEST_EPOCH} had the lowest validation loss, 0.5000: its weights are" in log_of(made)
    assert "has not improved for 10 epochs" in log_of(made)


def test_a_finished_training_is_only_validated(start):
    made = undisturbed(start)
    before = {path: path.stat().st_mtime_ns for path in made.output_folder_path.glob("*.pth")}
    again = start(continued=True)
    again.run_training()
    assert again.dataloader_train is None and again.current_epoch == STOPPED_AFTER
    assert again.plain_network.state_dict()[FINGERPRINT].tolist() == [BEST_EPOCH] * 3
    assert {path: path.stat().st_mtime_ns for path in made.output_folder_path.glob("*.pth")} == before
    assert "only validation" in log_of(again)
    assert start(validation_only=True).finished


def kill_at_write(monkeypatch, number, *, before):
    """Let the process die just before or after the checkpoint of this number is in place."""
    write, count = checkpoints.write_checkpoint, itertools.count()

    def dying(checkpoint, path):
        its_turn = next(count) == number
        if its_turn and before:
            (path.parent / f".1a2b3c4d.{path.name}").write_bytes(b"half of it")
            raise Killed
        write(checkpoint, path)
        if its_turn:
            raise Killed

    monkeypatch.setattr(checkpoints, "write_checkpoint", dying)


def number_of_writes(start, monkeypatch):
    write, paths = checkpoints.write_checkpoint, []
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_checkpoint", lambda content, path: (paths.append(path), write(content, path)))
        made = undisturbed(start)
    return len(paths), trace(made), made


def test_a_training_begun_anew_does_not_mix_with_the_earlier(start):
    made = undisturbed(start)
    expected = trace(made)
    again = start()
    again.during_step = lambda trainer: trainer.current_epoch == 2 and (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        again.run_training()
    assert "its checkpoint is now earlier_checkpoint_final.pth" in log_of(again)
    resumed = start(continued=True)
    assert resumed.current_epoch == 2
    resumed.run_training()
    found = trace(resumed)
    aside = [f"earlier_{name}" for name in expected["files"] if name.endswith(".pth")]
    assert found == expected | {"files": sorted([*expected["files"], *aside])}


def test_sigterm_at_the_very_end_is_heard_after_the_final_checkpoint(start):
    made = start()
    made.during_step = lambda trainer: trainer.current_epoch == 17 and setattr(trainer, "lr_scheduler", Ending(trainer))
    with pytest.raises(SystemExit):
        made.run_training()
    assert checkpoints.read_checkpoint(made.output_folder_path / checkpoints.FINAL)["resunet_ds"]["finished"]


class Ending:
    """A schedule that gets SIGTERM when it is asked whether to stop."""

    def __init__(self, trainer):
        self.schedule = trainer.lr_scheduler

    def __getattr__(self, name):
        return getattr(self.schedule, name)

    @property
    def should_stop(self):
        os.kill(os.getpid(), signal.SIGTERM)
        return True


@pytest.fixture
def interruptible():
    """Python's own SIGINT: a shell that starts the tests in the background has them ignore it."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_counts_as_sigterm_where_asked():
    with sigterm_noted(also_interrupts=True) as came:
        assert not came()
        os.kill(os.getpid(), signal.SIGINT)
        assert came()
    with pytest.raises(KeyboardInterrupt), sigterm_noted() as came:
        os.kill(os.getpid(), signal.SIGINT)


def start_anew(made):
    for path in made.output_folder_path.iterdir():
        path.unlink()


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_killed_around_any_checkpoint_it_ends_the_same(start, monkeypatch, before):
    n_writes, expected, made = number_of_writes(start, monkeypatch)
    assert n_writes > 8
    for number in range(n_writes):
        start_anew(made)
        with monkeypatch.context() as patch:
            kill_at_write(patch, number, before=before)
            with pytest.raises(Killed):
                start().run_training()
        resumed = start(continued=True)
        resumed.run_training()
        assert trace(resumed) == expected, number


def test_killed_in_any_epoch_again_and_again_it_ends_the_same(start):
    expected = trace(undisturbed(start))
    start_anew(start())
    for epoch in (0, 1, 4, 5, 6, 8, 13, 17):
        killed = start(continued=epoch > 0)

        def die(trainer, epoch=epoch):
            if trainer.current_epoch == epoch:
                raise Killed

        killed.during_step = die
        with pytest.raises(Killed):
            killed.run_training()
    resumed = start(continued=True)
    resumed.run_training()
    assert trace(resumed) == expected


@pytest.mark.parametrize("epoch", [0, 3, 7, 12])
def test_sigterm_saves_the_interrupted_epoch_and_exits(start, epoch):
    expected = trace(undisturbed(start))
    start_anew(start())
    made = start()
    made.during_step = lambda trainer: os.kill(os.getpid(), signal.SIGTERM) if trainer.current_epoch == epoch else None
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped:
        made.run_training()
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == handler
    latest = checkpoints.read_checkpoint(made.output_folder_path / checkpoints.LATEST)
    assert latest["current_epoch"] == epoch
    assert {len(values) for values in latest["logging"].values()} == {epoch}
    assert latest["network_weights"][FINGERPRINT].tolist() == [epoch] * 3  # the step was finished
    resumed = start(continued=True)
    resumed.run_training()
    assert trace(resumed) == expected


def test_the_latest_epoch_is_saved_at_least_every_five(start):
    made = start()
    made.losses = [1 - epoch / 1e9 for epoch in range(9)]  # no improvement by the rule

    def die(trainer):
        if trainer.current_epoch == 8:
            raise Killed

    made.during_step = die
    with pytest.raises(Killed):
        made.run_training()
    assert checkpoints.read_checkpoint(made.output_folder_path / checkpoints.LATEST)["current_epoch"] == 5


def test_a_corrupt_latest_falls_back_and_says_so(start):
    made = start()
    made.during_step = lambda trainer: trainer.current_epoch == 11 and (_ for _ in ()).throw(Killed())
    with pytest.raises(Killed):
        made.run_training()
    latest = made.output_folder_path / checkpoints.LATEST
    latest.write_bytes(latest.read_bytes()[:1000])
    resumed = start(continued=True)
    assert resumed.current_epoch == 11  # from checkpoint_best, whose Dice has risen in every epoch
    assert "Passed over" in log_of(resumed) and "checkpoint_latest.pth: damaged" in log_of(resumed)


def test_a_loss_that_is_no_number_stops_with_the_case_names(start):
    made = start()
    made.losses = [0.5, float("nan")]
    with pytest.raises(TrainingError, match=r"epoch 1, train: step 0: the loss is nan for cases case_a, case_b; .*--c"):
        made.run_training()
    assert checkpoints.read_checkpoint(made.output_folder_path / checkpoints.BEST_LOSS)["current_epoch"] == 1


def test_no_space_for_a_checkpoint_leaves_the_earlier(start, monkeypatch):
    made = start()
    save = torch.save

    def full(content, file):
        save(content, "/dev/full" if content["current_epoch"] == 4 else file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="earlier checkpoint is intact"):
        made.run_training()
    assert checkpoints.read_checkpoint(made.output_folder_path / checkpoints.BEST_LOSS)["current_epoch"] == 2


class ScriptedBCE(Scripted, ResUNetDSTrainerBCE):
    pass


class ScriptedDepth6(Scripted, ResUNetDSTrainerDepth6):
    pass


class ScriptedSGD(Scripted, ResUNetDSTrainerSGD):
    losses = LOSSES * 3


def bring(made, other):
    """Bring the final checkpoint of one training into the folder of another."""
    other.output_folder_path.joinpath(checkpoints.FINAL).write_bytes(
        made.output_folder_path.joinpath(checkpoints.FINAL).read_bytes()
    )


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
    torch.save(stock, made.output_folder_path / checkpoints.LATEST)
    resumed = start(continued=True)
    assert resumed.current_epoch == 0
    assert resumed.plain_network.state_dict()[FINGERPRINT].tolist() == [2] * 3
    assert "made by nnUNetTrainer: only its weights are taken" in log_of(resumed)


def test_sgd_trains_to_its_last_epoch(start):
    made = start(kind=ScriptedSGD)
    made.run_training()
    assert made.current_epoch == 40
    assert made.plain_network.state_dict()[FINGERPRINT].tolist() == [39] * 3
    assert "The last epoch's weights are final" in log_of(made)


def test_checkpoints_can_be_switched_off(start):
    made = start()
    made.disable_checkpointing = True
    made.run_training()
    assert list(made.output_folder_path.glob("*.pth")) == []
    assert "The last epoch's weights are final" in log_of(made)


def test_our_checkpoints_have_all_that_nnunet_s_have(start, monkeypatch):
    made = undisturbed(start)
    ours = checkpoints.read_checkpoint(made.output_folder_path / checkpoints.FINAL)
    stock = {}
    monkeypatch.setattr(torch, "save", lambda content, _: stock.update(content))
    nnUNetTrainer.save_checkpoint(made, "nowhere")
    assert ours.keys() == stock.keys() | {"resunet_ds"}


class Recorder:
    """Stands for nnU-Net's W&B logger."""

    def __init__(self):
        self.logged = {}

    def log(self, key, value, step):
        self.logged.setdefault(key, []).append((step, value))

    def update_config(self, config):
        """Take no note of the configuration."""


def test_other_loggers_of_nnunet_hear_of_the_heads(start):
    made = start()
    recorder = Recorder()
    made.logger.loggers.append(recorder)
    made.run_training()
    assert recorder.logged["head_losses/class_1"] == list(enumerate(LOSSES[:STOPPED_AFTER]))
    assert recorder.logged["val_losses"] == list(enumerate(LOSSES[:STOPPED_AFTER]))
    assert {"head_losses/class_2", "head_dice/class_1", "head_dice/class_2"} <= recorder.logged.keys()


def one_rank(rank, dataset, folder):
    """Let each of two ranks have another loss, and only one of them get SIGTERM."""
    made = trainer(dataset, small(dataset[0]), kind=Scripted)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    made.is_ddp, made.local_rank = True, rank
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    made.lr_scheduler = PlateauSchedule(optimizer, factor=0.5, patience=0, stopping_patience=2)
    decisions = []
    for epoch, losses in enumerate([(0.5, 0.7), (0.1, 1.2), (0.9, 0.2), (0.6, 0.6)]):
        made.current_epoch, made.losses = epoch, {epoch: losses[rank]}
        made.on_validation_epoch_end([made.validation_step({})])
        decisions.append([made._loss_improved, made.lr_scheduler.should_stop, optimizer.param_groups[0]["lr"]])
    assert decisions == [[True, False, 1.0], [False, False, 0.5], [True, False, 0.5], [False, False, 0.25]]
    assert made.logger.get_value("head_losses", step=0) == [0.6] * N_HEADS
    assert made._on_any_rank(rank == 1) and not made._on_any_rank(False)
    distributed.barrier()
    distributed.destroy_process_group()
    (folder / f"done_{rank}").touch()


def test_ranks_decide_alike(dataset, tmp_path):
    torch.multiprocessing.spawn(one_rank, (dataset, tmp_path), nprocs=2)
    assert len(list(tmp_path.glob("done_*"))) == 2
