"""Trainings that are stopped and continued, with scripted losses: they end as one that was never stopped.

Only the steps are made up: loop, schedule, logger, checkpoints and the choice of a checkpoint under ``--c`` are real.
"""

import os
import signal

import pytest
from scripted_training import (
    BEST_EPOCH,
    FILES,
    FINGERPRINT,
    LOSSES,
    STOPPED_AFTER,
    Killed,
    Scripted,
    kill_at_write,
    log_of,
    starter,
    trace,
    undisturbed,
)

from nnunet_resunet_ds.base.errors import InputError, TrainingError
from nnunet_resunet_ds.training.checkpoint import checkpoint_names, checkpoints
from nnunet_resunet_ds.training.variants import ResUNetDSTrainerSGD


@pytest.fixture
def start(dataset, monkeypatch):
    return starter(dataset, monkeypatch)


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


def test_the_best_by_dice_is_loaded_and_leaves_the_best_by_loss(start):
    """As --val_best does when a training is finished; that of the best Dice was once that of the lowest loss, too."""
    made = undisturbed(start)
    best_loss = (made.output_folder_path / checkpoint_names.BEST_LOSS).read_bytes()
    best = checkpoints.read_checkpoint(made.output_folder_path / checkpoint_names.BEST)
    best["current_epoch"] = 4
    best["resunet_ds"]["schedule"]["best_epoch"] = 3
    checkpoints.write_checkpoint(best, made.output_folder_path / checkpoint_names.BEST)
    again = start(continued=True)
    again.load_checkpoint(str(again.output_folder_path / checkpoint_names.BEST))
    assert (made.output_folder_path / checkpoint_names.BEST_LOSS).read_bytes() == best_loss
    assert "checkpoint_best.pth is loaded, of 4 epochs." in log_of(again)


def test_a_fold_is_trained_by_one_process_at_a_time(start):
    made = start()
    begun = []

    def train_it_too(_):
        with pytest.raises(InputError, match="fold_0: another process is writing this"):
            start(continued=True).run_training()
        begun.append(1)

    made.during_step = lambda trainer: begun or train_it_too(trainer)
    made.run_training()
    assert begun and trace(made)["files"] == FILES


def number_of_writes(start, monkeypatch):
    write, paths = checkpoints.write_checkpoint, []
    with monkeypatch.context() as patch:
        patch.setattr(
            checkpoints, "write_checkpoint", lambda content, path, **_: (paths.append(path), write(content, path))
        )
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
    assert checkpoints.read_checkpoint(made.output_folder_path / checkpoint_names.FINAL)["resunet_ds"]["finished"]


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


def start_anew(made):
    for path in made.output_folder_path.iterdir():
        path.unlink()


@pytest.mark.long
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
    latest = checkpoints.read_checkpoint(made.output_folder_path / checkpoint_names.LATEST)
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
    assert checkpoints.read_checkpoint(made.output_folder_path / checkpoint_names.LATEST)["current_epoch"] == 5


def test_a_loss_that_is_no_number_stops_with_the_case_names(start):
    made = start()
    made.losses = [0.5, float("nan")]
    with pytest.raises(TrainingError, match=r"epoch 1, train: step 0: the loss is nan for cases case_a, case_b; .*--c"):
        made.run_training()
    assert checkpoints.read_checkpoint(made.output_folder_path / checkpoint_names.BEST_LOSS)["current_epoch"] == 1


class ScriptedSGD(Scripted, ResUNetDSTrainerSGD):
    losses = LOSSES * 3


def test_sgd_trains_to_its_last_epoch(start):
    made = start(kind=ScriptedSGD)
    made.run_training()
    assert made.current_epoch == 40
    assert made.plain_network.state_dict()[FINGERPRINT].tolist() == [39] * 3
    assert "The last epoch's weights are final" in log_of(made)


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
