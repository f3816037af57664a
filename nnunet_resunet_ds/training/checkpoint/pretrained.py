"""Start a training from the weights that its plans name: each fold, by the usual command, without a further flag."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.setting_checks import check_path_part
from nnunet_resunet_ds.training.checkpoint.checkpoint_content import check_weights_fit, plain_weights, weights_identity
from nnunet_resunet_ds.training.checkpoint.checkpoints import read_checkpoint

PRETRAINED = "resunet_ds_pretrained"
"""Section of a plans file."""
_OUTPUT_LAYERS = "seg_layers"
_AGAIN = "write both again: resunet-ds plan --pretrained"


@dataclass(frozen=True)
class Pretrained:
    """The weights that a training starts from."""

    file: str
    """Name, next to the plans."""
    weights: str
    """Their identity."""
    model: str
    """What they are of, in words."""
    output_layers: bool
    """Whether the output layers start from them, too, as the regions are the same; else they start at random."""
    cases: tuple[str, ...] = ()
    """Ids of the cases that the weights were trained on, as far as they are noted."""

    def to_mapping(self) -> dict[str, Any]:
        """Return the section of the plans."""
        return {**asdict(self), "cases": list(self.cases)}


def pretrained_of(plans: Mapping[str, Any]) -> Pretrained | None:
    """Return what plans say of the weights to start from; None where these are random.

    Raises:
        InputError: the section is damaged.
    """
    section = plans.get(PRETRAINED)
    if section is None:
        return None
    try:
        found = Pretrained(**{**section, "cases": tuple(section["cases"])})
    except (TypeError, LookupError) as error:
        msg = f"plans {plans.get('plans_name')}: the section {PRETRAINED} is damaged ({error}); {_AGAIN}"
        raise InputError(msg) from error
    check_path_part(f"file in {PRETRAINED} of the plans", found.file)
    return found


def take_weights(network: nn.Module, pretrained: Pretrained, folder: Path) -> str:
    """Set a new network to the weights to start from; return a line for the log.

    Args:
        network: without what DistributedDataParallel and torch.compile wrap around it.
        pretrained: what the plans say.
        folder: of the preprocessed dataset, where the weights lie.

    Raises:
        InputError: the file is missing or damaged, or has other weights than the plans name.
    """
    path = folder / pretrained.file
    if not path.is_file():
        msg = f"{path}: the weights that the plans start from are not there; {_AGAIN}"
        raise InputError(msg)
    weights = plain_weights(read_checkpoint(path))
    if weights_identity(weights) != pretrained.weights:
        msg = f"{path}: has other weights than the plans name; {_AGAIN}"
        raise InputError(msg)
    if not pretrained.output_layers:
        weights = weights | {name: values for name, values in network.state_dict().items() if _OUTPUT_LAYERS in name}
    check_weights_fit(path, weights, network.state_dict(), _AGAIN)
    network.load_state_dict(weights)
    layers = "the output layers included" if pretrained.output_layers else "but for the output layers"
    return f"Starts from the weights of {pretrained.model}, {layers}: {path}"


def check_same_start(model: Path, earlier: Pretrained | None, plans: Mapping[str, Any]) -> None:
    """Refuse to train a fold into a model whose other folds started from other weights.

    Args:
        model: folder of the model, with checkpoints of other folds.
        earlier: what these folds started from.
        plans: of the training.

    Raises:
        InputError: with what to do.
    """
    now = pretrained_of(plans)
    if (earlier and earlier.weights) != (now and now.weights):
        were, are = (f"from the weights of {one.model}" if one else "from random weights" for one in (earlier, now))
        msg = (
            f"{model}: its other folds started {were}, and plans {plans['plans_name']} start {are}. The folds of a "
            "model must start alike: give these plans another name with resunet-ds plan --name, or move that model away"
        )
        raise InputError(msg)
