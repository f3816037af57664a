"""Checkpoint files of a training: written whole or not at all, read without running what they may hold."""

import errno
import hashlib
import pickle
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nnunet_resunet_ds.base.errors import InputError, first_line
from nnunet_resunet_ds.base.files import replacing

LATEST, BEST, BEST_LOSS, FINAL = (f"checkpoint_{name}.pth" for name in ("latest", "best", "best_loss", "final"))
"""nnU-Net's names, and ours for the epoch of the lowest validation loss (decision D7)."""
VALIDATION, SUMMARY = "validation", "summary.json"
"""nnU-Net's folder of predicted validation cases, next to the checkpoints, and the file in it that it writes last."""
CONTINUE_REMEDY = (
    "continue with the trainer and plans that made it, or train into another folder by giving the plans another --name"
)

_IDENTITY_DIGITS = 16
"""Of weights: enough that no two are ever the same by chance."""

Checkpoint = dict[str, Any]


class Found(NamedTuple):
    """The checkpoint to go on from, and what is to be said of others."""

    path: Path
    checkpoint: Checkpoint
    notes: list[str]


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint; the file of this name that was there stays until the new one is whole.

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


def read_checkpoint(path: Path, *, mapped: bool = False) -> Checkpoint:
    """Read a checkpoint on the CPU: weights, numbers and text, and nothing that could run code.

    Args:
        path: of the file.
        mapped: read weights from the file only where they are used, for a look at the rest.

    Raises:
        InputError: the file is missing, damaged, holds other things, or is no nnU-Net checkpoint.
    """
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError as error:
        msg = f"{path}: no such file"
        raise InputError(msg) from error
    except Exception as error:  # damaged bytes make PyTorch raise whatever they come to
        msg = f"{path}: {_refusal(error)}"
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
    """Return what the trainer was made with under a name; nothing where that is no mapping."""
    arguments = checkpoint.get("init_args")
    value = arguments.get(name) if isinstance(arguments, Mapping) else None
    return value if isinstance(value, Mapping) else {}


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
        if best is None or _epochs(checkpoint) > _epochs(best.checkpoint):
            best = Found(path, checkpoint, notes)
    if best is None:
        lines = notes or [f"{folder}: no checkpoint to continue from"]
        raise InputError("\n".join(lines))
    return best


def set_aside(folder: Path) -> list[Path]:
    """Rename the checkpoints of a training, the final one included, and its validation; return their new paths."""
    renamed = []
    for path in (folder / name for name in (LATEST, BEST, BEST_LOSS, FINAL, VALIDATION)):
        if path.exists():
            earlier = path.with_name(f"earlier_{path.name}")
            if earlier.is_dir():
                shutil.rmtree(earlier)
            renamed.append(path.replace(earlier))
    return renamed


def _epochs(checkpoint: Checkpoint) -> int:
    epochs = checkpoint.get("current_epoch")
    return epochs if isinstance(epochs, int) else 0


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
    """Return what tells weights from others, wherever and whenever they were saved: a digest of names and values."""
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
        yield f"it has {name} beside"


def _are_weights(values: object) -> bool:
    return isinstance(values, dict) and all(isinstance(value, Tensor) for value in values.values())


_TRUSTED = "if you know who made it, nnUNetv2_predict reads it and runs that code; else leave it alone"


def _refusal(error: Exception) -> str:
    """Say in a line why a file was not read: PyTorch wraps the reason in a page of advice."""
    forbidden = re.search(r"(GLOBAL|class) (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if forbidden:
        name = forbidden[2].strip("<>'")
        return f"refused, it refers to {name}, and could run code when read; {_TRUSTED}"
    reason = first_line(error).partition(". ")[0]
    return f"damaged ({reason}); restore it from a copy, or remove it: --c goes on from an earlier one"


def _numpy_scalars() -> list[Any]:
    """Return what pickled numpy numbers are made of, by the names of every NumPy: nnU-Net logs its losses as such.

    A pair is an object, and a name that files may have for it.
    """
    scalar = np.float64(0).__reduce__()[0]
    names = (f"numpy.{core}.multiarray.scalar" for core in ("core", "_core"))  # before and since NumPy 2
    kinds = (np.float64, np.float32, np.int64, np.bool_)
    return [*((scalar, name) for name in names), np.dtype, *(type(np.dtype(kind)) for kind in kinds)]
