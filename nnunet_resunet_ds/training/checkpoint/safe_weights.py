"""Keep the weights of a fold as safetensors: numbers and text alone, which cannot run code when they are read.

A file holds what prediction reads of a checkpoint of nnU-Net, at a fraction of its size. In PyTorch it is the same
dictionary, so that everything that takes a checkpoint takes this, too.
"""

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nnunet_resunet_ds.base.errors import InputError, first_line
from nnunet_resunet_ds.base.files import replacing
from nnunet_resunet_ds.training.fold.fold_record import CASES
from nnunet_resunet_ds.training.planning.recipe import SECTION

_HEADER = "nnunet"
"""Of the file's metadata: what a checkpoint says next to its weights, and further names of the same weights. It is one
entry, as safetensors writes several in any order."""
_AXES = "inference_allowed_mirroring_axes"


def write_safe_weights(checkpoint: Mapping[str, Any], path: Path, *, half: bool, case_ids: bool = True) -> None:
    """Write the weights of a checkpoint, and what trained them.

    Args:
        checkpoint: as `read_checkpoint` returns it.
        path: of the file, which ends in `SAFE_ENDING`.
        half: in 16 bits, so that they differ a little from those of the checkpoint.
        case_ids: note the ids of the training and validation cases, too.

    Raises:
        ValueError: a weight is too large for 16 bits.
    """
    kept, aliases = _without_aliases(checkpoint["network_weights"])
    header = {
        "aliases": aliases,
        "trainer_name": checkpoint["trainer_name"],
        "configuration": checkpoint["init_args"]["configuration"],
        _AXES: None if checkpoint.get(_AXES) is None else list(checkpoint[_AXES]),
        CASES: (checkpoint.get(SECTION) or {}).get(CASES) if case_ids else None,
    }
    stored = {name: (_halved(name, values) if half else values).contiguous() for name, values in kept.items()}
    with replacing(path) as temporary:
        try:
            save_file(stored, temporary, {_HEADER: json.dumps(header)})
        except SafetensorError as error:  # of a full disk, too
            msg = f"could not be written ({first_line(error)}); make space on this disk"
            raise OSError(errno.EIO, msg, str(path)) from error


def read_safe_weights(path: Path) -> dict[str, Any]:
    """Read weights in fp32, in a dictionary like that of a checkpoint.

    Raises:
        InputError: the file is missing, damaged, or of something else.
    """
    if not path.is_file():
        msg = f"{path}: no such file"
        raise InputError(msg)
    try:
        with safe_open(path, "pt") as file:
            texts = file.metadata() or {}
            weights = {name: _in_fp32(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 (no mapping)
        header = json.loads(texts[_HEADER])
        return {
            "network_weights": weights | {name: weights[same] for name, same in header["aliases"].items()},
            "trainer_name": header["trainer_name"],
            "init_args": {"configuration": header["configuration"]},
            _AXES: None if header[_AXES] is None else tuple(header[_AXES]),
            SECTION: {CASES: header[CASES]},
        }
    except (SafetensorError, OSError, AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        msg = f"{path}: damaged, or not weights of this package ({first_line(error)}); install or copy it again"
        raise InputError(msg) from error


def _halved(name: str, values: Tensor) -> Tensor:
    """Return floating-point values in 16 bits; counters stay as they are."""
    if not values.is_floating_point():
        return values
    halved = values.half()
    if not halved.isfinite().all():
        msg = f"{name} has values that 16 bits do not hold"
        raise ValueError(msg)
    return halved


def _in_fp32(values: Tensor) -> Tensor:
    return values.float() if values.is_floating_point() else values


def _without_aliases(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return weights under one name each, and further name → that name: the decoder holds the encoder, too."""
    kept: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    first_names: dict[tuple[int, tuple[int, ...]], str] = {}
    for name, values in weights.items():
        same = first_names.setdefault((values.data_ptr(), tuple(values.shape)), name)
        if same == name:
            kept[name] = values
        else:
            aliases[name] = same
    return kept, aliases
