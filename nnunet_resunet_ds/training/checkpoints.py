"""Make, write and read checkpoints: each is written whole or not at all, and read without running code in it."""

import errno
import hashlib
import pickle
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nnunet_resunet_ds.base.errors import InputError, first_line
from nnunet_resunet_ds.base.files import replacing
from nnunet_resunet_ds.base.model_id import FOLD
from nnunet_resunet_ds.training.fold_record import CASES
from nnunet_resunet_ds.training.recipe import SECTION
from nnunet_resunet_ds.training.safe_weights import SAFE_ENDING, read_safe_weights

if TYPE_CHECKING:  # its import takes seconds
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

LATEST, BEST, BEST_LOSS, FINAL = (f"checkpoint_{name}.pth" for name in ("latest", "best", "best_loss", "final"))
"""nnU-Net's names, and ours for the epoch of the lowest validation loss."""
AVERAGED, KEPT = "checkpoint_averaged.pth", "kept_weights"
"""The mean of the weights of the last epochs, and the folder of these weights: see `kept_weights`, `averaging`."""
SAFE_FINAL = f"checkpoint_final{SAFE_ENDING}"
"""The weights of `FINAL` in a model that was made to be shared."""
VALIDATION, SUMMARY = "validation", "summary.json"
"""nnU-Net's folder of predicted validation cases, next to the checkpoints, and the last file that it writes there."""
CONTINUE_REMEDY = (
    "continue with the trainer and plans that made it, or train into another folder by giving the plans another --name"
)
DAMAGED_REMEDY = "restore it from a copy, or remove it: --c goes on from an earlier one"

_IDENTITY_DIGITS = 16
"""Of weights: enough that no two are ever the same by chance."""
_TRUSTED = "if you know who made it, nnUNetv2_predict reads it and runs that code; else leave it alone"

Checkpoint = dict[str, Any]
Weights = dict[str, Tensor]


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


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint; an earlier file of this name stays until the new one is whole.

    Raises:
        OSError: it could not be written whole.
    """
    with replacing(path) as temporary:
        try:
            with temporary.open("wb") as stream:  # given a path, PyTorch 2.6 says nothing of a small file cut short
                torch.save(checkpoint, stream)
        except (OSError, RuntimeError) as error:  # PyTorch raises RuntimeError on a full disk
            reason = str(error).strip().splitlines()[0]
            earlier = "the earlier checkpoint is intact" if path.exists() else "no earlier one is there"
            msg = f"could not be written ({reason}); {earlier}. Make space on the disk and continue with --c"
            raise OSError(errno.EIO, msg, str(path)) from error


def read_checkpoint(path: Path, *, mapped: bool = False, remedy: str = DAMAGED_REMEDY) -> Checkpoint:
    """Read a checkpoint on the CPU: weights, numbers and text, and nothing that could run code.

    Args:
        path: of the file, nnU-Net's or one of `write_safe_weights`.
        mapped: read weights from the file only where they are used, for a look at the rest.
        remedy: what to do where it is damaged, for the message.

    Raises:
        InputError: the file is missing, damaged, holds other things, or is no nnU-Net checkpoint.
    """
    if path.suffix == SAFE_ENDING:
        return read_safe_weights(path)
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError as error:
        msg = f"{path}: no such file"
        raise InputError(msg) from error
    except Exception as error:  # damaged bytes make PyTorch raise all kinds of errors
        msg = f"{path}: {_refusal(error, remedy)}"
        raise InputError(msg) from error
    if not isinstance(checkpoint, dict) or not _are_weights(checkpoint.get("network_weights")):
        msg = f"{path}: not a checkpoint of nnU-Net; it has no network_weights"
        raise InputError(msg)
    return checkpoint


def plans_of(checkpoint: Checkpoint) -> Mapping[str, Any] | None:
    """Return the plans that the weights were trained with; None where the checkpoint does not hold them."""
    plans = _argument(checkpoint, "plans")
    return plans if isinstance(plans.get("configurations"), Mapping) else None


def dataset_json_of(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Return the dataset.json that the weights were trained with, empty where the checkpoint does not hold it."""
    return _argument(checkpoint, "dataset_json")


def _argument(checkpoint: Checkpoint, name: str) -> Mapping[str, Any]:
    """Return an argument that the trainer was made with; an empty mapping where it is none."""
    arguments = checkpoint.get("init_args")
    value = arguments.get(name) if isinstance(arguments, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def plain_weights(checkpoint: Checkpoint) -> Weights:
    """Return the weights by the names that they have outside DistributedDataParallel."""
    return {name.removeprefix("module."): values for name, values in checkpoint["network_weights"].items()}


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


def epochs_of(checkpoint: Checkpoint) -> int:
    """Return how many epochs the weights have seen; 0 where the checkpoint does not say it."""
    epochs = checkpoint.get("current_epoch")
    return epochs if isinstance(epochs, int) else 0


def checkpoint_name(folder: Path, checkpoint: str) -> str:
    """Return the name of the weights' files: `SAFE_FINAL` where the final ones are asked for and there as such."""
    is_safe = checkpoint == FINAL and not available_folds(folder) and available_folds(folder, SAFE_FINAL)
    return SAFE_FINAL if is_safe else checkpoint


def available_folds(folder: Path, checkpoint: str = FINAL) -> list[str]:
    """Return the names of the folds that have a checkpoint, numbers first in order, ``all`` last."""
    names = [path.parent.name.removeprefix(FOLD) for path in folder.glob(f"{FOLD}*/{checkpoint}")]
    return sorted(names, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))


def check_weights_fit(
    path: Path, weights: Mapping[str, Tensor], network: Mapping[str, Tensor], remedy: str = CONTINUE_REMEDY
) -> None:
    """Refuse the weights of another network.

    Args:
        path: of the checkpoint, for the message.
        weights: of the checkpoint.
        network: the state dict to be filled.
        remedy: what to do, for the message.

    Raises:
        InputError: names or shapes differ; the message names the first difference.
    """
    for difference in _differences(weights, network):
        msg = f"{path}: its weights are of another network ({difference}); {remedy}"
        raise InputError(msg)


def weights_identity(weights: Mapping[str, Tensor]) -> str:
    """Return a digest of the names and values of weights; it is the same wherever they are saved."""
    found = hashlib.sha256()
    for name in sorted(weights):
        values = weights[name].detach().cpu().contiguous()
        found.update(f"{name} {values.dtype} {tuple(values.shape)};".encode())
        found.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()[:_IDENTITY_DIGITS]


def _differences(weights: Mapping[str, Tensor], network: Mapping[str, Tensor]) -> Iterable[str]:
    for name, tensor in network.items():
        if name not in weights:
            yield f"it has no {name}"
        elif weights[name].shape != tensor.shape:
            yield f"{name} is {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
    for name in weights.keys() - network.keys():
        yield f"it also has {name}"


def _are_weights(values: object) -> bool:
    return isinstance(values, dict) and all(isinstance(value, Tensor) for value in values.values())


def _refusal(error: Exception, remedy: str) -> str:
    """Say in a line why a file was not read: PyTorch wraps the reason in a page of advice."""
    forbidden = re.search(r"(GLOBAL|class) (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if forbidden:
        name = forbidden[2].strip("<>'")
        return f"refused, it refers to {name}, and could run code when read; {_TRUSTED}"
    reason = first_line(error).partition(". ")[0]
    return f"damaged ({reason}); {remedy}"


def _numpy_scalars() -> list[Any]:
    """Return the parts of pickled numpy numbers, by the names of every NumPy: nnU-Net logs its losses as such.

    A pair is an object, and a name that files may have for it.
    """
    scalar = np.float64(0).__reduce__()[0]
    names = (f"numpy.{core}.multiarray.scalar" for core in ("core", "_core"))  # before and since NumPy 2
    kinds = (np.float64, np.float32, np.int64, np.bool_)
    return [*((scalar, name) for name in names), np.dtype, *(type(np.dtype(kind)) for kind in kinds)]
