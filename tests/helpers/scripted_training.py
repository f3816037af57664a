"""Trainings with scripted losses: loop, schedule, logger and checkpoints are real, and the steps are made up."""

import itertools
from pathlib import Path

import numpy as np
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.logging.nnunet_logger import LocalLogger
from trainers import small, trainer

from nnunet_resunet_ds import trainer as trainer_module
from nnunet_resunet_ds.base.files import remove_half_written
from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.training.checkpoint import checkpoint_names, checkpoints

LOSSES = [0.9, 0.7, 0.71, 0.6, 0.65, 0.64, 0.63, 0.5, 0.55, 0.56, 0.57, 0.58, 0.59, 0.6, 0.61, 0.62, 0.63, 0.64, 0.1]
"""The rate falls twice, the best epoch is 7, and ten epochs later training stops: the 0.1 is never seen."""
BEST_EPOCH, STOPPED_AFTER = 7, 18
FILES = ["checkpoint_best.pth", "checkpoint_best_loss.pth", "checkpoint_final.pth", "heads.csv", "run.json"]
"""The files of a finished training, without its log and its picture."""
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
        return Path(self.output_folder)

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


def starter(dataset, monkeypatch):
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
    final = checkpoints.read_checkpoint(made.output_folder_path / checkpoint_names.FINAL)
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


def kill_at_write(monkeypatch, number, *, before):
    """Let the process die just before or after the checkpoint of this number is in place."""
    write, count = checkpoints.write_checkpoint, itertools.count()

    def dying(checkpoint, path, **more):
        its_turn = next(count) == number
        if its_turn and before:
            (path.parent / f".1a2b3c4d.{path.name}").write_bytes(b"half of it")
            raise Killed
        write(checkpoint, path, **more)
        if its_turn:
            raise Killed

    monkeypatch.setattr(checkpoints, "write_checkpoint", dying)
