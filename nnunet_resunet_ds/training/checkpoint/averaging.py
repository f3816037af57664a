"""Average the weights of several epochs of one training, and write the result as a checkpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.training.checkpoint.checkpoint_content import check_weights_fit, weights_identity
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import AVERAGED
from nnunet_resunet_ds.training.checkpoint.checkpoints import Checkpoint, Weights, read_checkpoint, write_checkpoint
from nnunet_resunet_ds.training.fold.fold_record import AVERAGED_WEIGHTS, add_to_record
from nnunet_resunet_ds.training.planning.recipe import SECTION

_RUNNING = ("running_mean", "running_var")
"""What batch norm calls its statistics."""


def mean_tensor(values: Sequence[Tensor]) -> Tensor:
    """Return the mean, summed in fp64, in the type that the tensors have; of whole numbers the last tensor.

    Equal tensors give their own bits: a sum of fewer than 2²⁹ equal numbers of fp32 is exact in fp64.

    Args:
        values: at least one, of one shape.
    """
    first, *others = values
    if not first.is_floating_point():
        return values[-1].clone()
    total = first.to(torch.float64, copy=True)  # not from zeros: 0 + -0 would lose the sign
    for other in others:
        total += other
    return (total / len(values)).to(first.dtype)


def averaged_weights(files: Sequence[Path], network: Weights) -> Weights:
    """Return the mean of the weights of several epochs.

    Instance norm computes its statistics from each image, so the mean of the weights is a whole network as it is. Batch
    norm would need another pass over the training data with the new weights; networks with it are refused.

    Args:
        files: of `kept_weights`, at least one.
        network: weights of the same training, for names and shapes.

    Raises:
        InputError: a file is missing or damaged, of another network, or the network has running statistics.
    """
    for name in network:
        if name.rpartition(".")[2] in _RUNNING:
            msg = (
                f"{files[0]}: its network has batch norm ({name}), whose running statistics do not fit the mean of "
                "weights; only networks without it are averaged"
            )
            raise InputError(msg)
    epochs = [_weights_of(file, network) for file in files]
    return {name: mean_tensor([weights[name] for weights in epochs]) for name in network}


def _weights_of(file: Path, network: Weights) -> Weights:
    """Read the weights of an epoch; the values stay in the file until they are used."""
    remedy = "restore it from a copy, or train this fold again"
    weights: Weights = read_checkpoint(file, mapped=True, remedy=remedy)["network_weights"]
    check_weights_fit(file, weights, network, "it is of another training: train this fold again")
    return weights


def write_averaged(final: Checkpoint, weights: Weights, note: Mapping[str, Any], fold: Path) -> Path:
    """Write the final checkpoint with averaged weights in place of its own, and note them; return its path.

    Whatever reads the final checkpoint reads this one: nnU-Net's commands, and ours.

    Args:
        final: of the training.
        weights: by `averaged_weights`.
        note: what was averaged, and what the check on validation found.
        fold: folder of the fold.

    Raises:
        OSError: it could not be written whole.
    """
    path = fold / AVERAGED
    section = {**(final.get(SECTION) or {}), "averaged": dict(note)}
    write_checkpoint({**final, "network_weights": weights, SECTION: section}, path)
    add_to_record(fold, **{AVERAGED_WEIGHTS: weights_identity(weights)})
    return path
