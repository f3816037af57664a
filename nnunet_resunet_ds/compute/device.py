"""Choose the device that computes."""

import torch

from nnunet_resunet_ds.base.errors import InputError


def chosen_device(device: torch.device | str | None) -> torch.device:
    """Return the device to predict on.

    Raises:
        InputError: it is not there.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        msg = f"no such device {device!r}; use cpu, cuda or mps"
        raise InputError(msg) from error
    missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if missing.get(chosen.type):
        msg = f"no {chosen.type} device here; use -device cpu, or see what resunet-ds doctor says of the GPU"
        raise InputError(msg)
    return chosen
