"""Take the state of a training, and go on from it: from which checkpoint, and how."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.training.checkpoint.checkpoint_content import CONTINUE_REMEDY, epochs_of
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import (
    AVERAGED,
    BEST,
    BEST_LOSS,
    FINAL,
    KEPT,
    LATEST,
    VALIDATION,
)
from nnunet_resunet_ds.training.checkpoint.checkpoints import Checkpoint, read_checkpoint
from nnunet_resunet_ds.training.fold.fold_record import CASES
from nnunet_resunet_ds.training.planning.recipe import SECTION

if TYPE_CHECKING:  # its import takes seconds
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class Found(NamedTuple):
    """The checkpoint to go on from, and a line about each file that was passed over."""

    path: Path
    checkpoint: Checkpoint
    notes: list[str]


def training_state(trainer: "nnUNetTrainer") -> Checkpoint:
    """Return the state of a training: `weights_state`, and all that it needs to go on.

    The epoch to go on with, and the log, are those of complete epochs.

    Args:
        trainer: a `ResumableTrainer`.
    """
    log = trainer.logger.get_checkpoint()
    n_epochs = min(map(len, log.values()))
    without = weights_state(trainer, n_epochs)
    return {
        **without,
        "optimizer_state": trainer.optimizer.state_dict(),
        "grad_scaler_state": trainer.grad_scaler.state_dict() if trainer.grad_scaler is not None else None,
        "logging": {name: values[:n_epochs] for name, values in log.items()},
        "_best_ema": trainer._best_ema,
        SECTION: {
            **without[SECTION],
            "schedule": trainer.lr_scheduler.state_dict(),
            "finished": trainer.finished,
        },
    }


def weights_state(trainer: "nnUNetTrainer", n_epochs: int) -> Checkpoint:
    """Return what prediction reads of a training, in nnU-Net's format with a section of ours.

    Args:
        trainer: a `ResumableTrainer`.
        n_epochs: that its weights have seen.
    """
    return {
        "network_weights": trainer.plain_network.state_dict(),
        "current_epoch": n_epochs,
        "init_args": trainer.my_init_kwargs,
        "trainer_name": type(trainer).__name__,
        "inference_allowed_mirroring_axes": trainer.inference_allowed_mirroring_axes,
        SECTION: {CASES: trainer.cases.to_mapping() if trainer.cases else None},
    }


def restore_training_state(trainer: "nnUNetTrainer", checkpoint: Checkpoint) -> None:
    """Set a trainer to the state that `training_state` returned, except for the weights, which are set before.

    Args:
        trainer: a `ResumableTrainer`.
        checkpoint: of a trainer of the same class.

    Raises:
        InputError: the learning rate fell by another schedule.
    """
    trainer.current_epoch = checkpoint["current_epoch"]
    trainer.logger.load_checkpoint(checkpoint["logging"])
    trainer._best_ema = checkpoint["_best_ema"]
    trainer.inference_allowed_mirroring_axes = checkpoint["inference_allowed_mirroring_axes"]
    trainer.optimizer.load_state_dict(checkpoint["optimizer_state"])
    _lay_out_as_weights(trainer.optimizer)
    if trainer.grad_scaler is not None and checkpoint["grad_scaler_state"] is not None:
        trainer.grad_scaler.load_state_dict(checkpoint["grad_scaler_state"])
    schedule = checkpoint[SECTION]["schedule"]
    if schedule.keys() != trainer.lr_scheduler.state_dict().keys():
        msg = f"the plans ask for another --schedule than this training began with; {CONTINUE_REMEDY}"
        raise InputError(msg)
    trainer.lr_scheduler.load_state_dict(schedule)
    trainer.finished = checkpoint[SECTION]["finished"]


def _lay_out_as_weights(optimizer: torch.optim.Optimizer) -> None:
    """Bring what an optimiser keeps of each weight into its layout in memory.

    A checkpoint keeps the layout that it was saved in. PyTorch's fused Adam goes through weights and state in the order
    of memory: on a CPU it would pair other elements without a word, on a GPU it refuses (PyTorch 2.14).
    """
    for weights, state in optimizer.state.items():
        for name, values in state.items():
            if isinstance(values, torch.Tensor) and values.shape == weights.shape and values.dim() > 1:
                state[name] = torch.empty_like(weights, dtype=values.dtype).copy_(values)


def checkpoint_to_load(path: Path, fold: Path) -> Found:
    """Return the checkpoint at a path; where the fold is not finished, the furthest one in its folder.

    Args:
        path: of the checkpoint that nnU-Net chose.
        fold: folder of the fold that is trained.

    Raises:
        InputError: it cannot be read.
    """
    if path.parent == fold and not (fold / FINAL).exists():
        return furthest_checkpoint(fold)
    return Found(path, read_checkpoint(path), [])


def furthest_checkpoint(folder: Path) -> Found:
    """Return the checkpoint of an unfinished training that has seen the most epochs, among those that can be read.

    ``checkpoint_latest`` is written every few epochs only, so one of the best epochs may be ahead of it.

    Raises:
        InputError: none can be read; the message has a line a file.
    """
    best: Found | None = None
    notes: list[str] = []
    for path in (folder / name for name in (LATEST, BEST_LOSS, BEST)):
        if not path.exists():
            continue
        try:
            checkpoint = read_checkpoint(path)
        except InputError as error:
            notes.append(str(error))
            continue
        if best is None or epochs_of(checkpoint) > epochs_of(best.checkpoint):
            best = Found(path, checkpoint, notes)
    if best is None:
        lines = notes or [f"{folder}: no checkpoint to continue from"]
        raise InputError("\n".join(lines))
    return best


def set_aside(folder: Path) -> list[Path]:
    """Rename all weights of a training, the final ones included, and its validation; return their new paths."""
    renamed = []
    for path in (folder / name for name in (LATEST, BEST, BEST_LOSS, FINAL, AVERAGED, KEPT, VALIDATION)):
        if path.exists():
            earlier = path.with_name(f"earlier_{path.name}")
            if earlier.is_dir():
                shutil.rmtree(earlier)
            renamed.append(path.replace(earlier))
    return renamed
