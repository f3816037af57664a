"""Tell what a checkpoint holds: weights, and what they were trained with."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.splits_file import FoldCases, noted_cases
from nnunet_resunet_ds.training.checkpoint.checkpoints import Checkpoint, Weights
from nnunet_resunet_ds.training.planning.recipe import SECTION

CONTINUE_REMEDY = (
    "continue with the trainer and plans that made it, or train into another folder by giving the plans another --name"
)
_IDENTITY_DIGITS = 16
"""Of weights: enough that no two are ever the same by chance."""


def plans_of(checkpoint: Checkpoint) -> Mapping[str, Any] | None:
    """Return the plans that the weights were trained with; None where the checkpoint does not hold them."""
    plans = _argument(checkpoint, "plans")
    return plans if isinstance(plans.get("configurations"), Mapping) else None


def dataset_json_of(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Return the dataset.json that the weights were trained with, empty where the checkpoint does not hold it."""
    return _argument(checkpoint, "dataset_json")


def cases_of(checkpoint: Checkpoint) -> FoldCases | None:
    """Return the cases that the weights were trained and validated on; None where the checkpoint does not note them."""
    return noted_cases(checkpoint.get(SECTION) or {})


def _argument(checkpoint: Checkpoint, name: str) -> Mapping[str, Any]:
    """Return an argument that the trainer was made with; an empty mapping where it is none."""
    arguments = checkpoint.get("init_args")
    value = arguments.get(name) if isinstance(arguments, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def plain_weights(checkpoint: Checkpoint) -> Weights:
    """Return the weights by the names that they have outside DistributedDataParallel."""
    return {name.removeprefix("module."): values for name, values in checkpoint["network_weights"].items()}


def epochs_of(checkpoint: Checkpoint) -> int:
    """Return how many epochs the weights have seen; 0 where the checkpoint does not say it."""
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
