"""Write and read checkpoints: each is written whole or not at all, and read without running code in it."""

import errno
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnunet_resunet_ds.base.errors import InputError, first_line
from nnunet_resunet_ds.base.files import replacing
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import SAFE_ENDING
from nnunet_resunet_ds.training.checkpoint.safe_weights import read_safe_weights

DAMAGED_REMEDY = "restore it from a copy, or remove it: --c goes on from an earlier one"

_TRUSTED = "if you know who made it, nnUNetv2_predict reads it and runs that code; else leave it alone"

Checkpoint = dict[str, Any]
Weights = dict[str, Tensor]


def write_checkpoint(checkpoint: Checkpoint, path: Path, *, then: str = "run this again") -> None:
    """Write a checkpoint; an earlier file of this name stays until the new one is whole.

    Args:
        checkpoint: what to write.
        path: of the file.
        then: what to do when a full disk has space again, for the message.

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
            msg = f"could not be written ({reason}); {earlier}. Make space on the disk and {then}"
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
