"""Set the training recipe by flags of ``resunet-ds plan`` and ``ablation``, one for each field of `Recipe`."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from nnunet_resunet_ds.compute import PRECISIONS
from nnunet_resunet_ds.training.augmentation import AUGMENTATIONS
from nnunet_resunet_ds.training.planning.recipe import SCHEDULES, Recipe

_NUMBERS = {
    "epochs": ("--epochs", int, "epochs at most"),
    "iterations_per_epoch": ("--iterations", int, "training steps an epoch"),
    "val_iterations_per_epoch": ("--val-iterations", int, "validation batches an epoch"),
    "initial_lr": ("--lr", float, "initial learning rate"),
    "weight_decay": ("--weight-decay", float, "weight decay of Adam"),
    "dice_weight": ("--dice-weight", float, "share of Dice in the loss, 0 to 1"),
    "gamma": ("--gamma", float, "focusing exponent of the focal loss"),
    "modality_dropout": ("--modality-dropout", float, "share of training samples that lose sequences, 0 to 1"),
    "plateau_factor": ("--plateau-factor", float, "factor on the learning rate when it drops"),
    "plateau_patience": ("--plateau-patience", int, "the learning rate drops after N + 1 epochs without improvement"),
    "stopping_patience": ("--patience", int, "training stops after N epochs without improvement"),
    "keep_weights": ("--keep-weights", int, "how many of the last epochs keep their weights, to be averaged"),
}
_OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "seed": (
        "--seed",
        {
            "type": int,
            "metavar": "N",
            "help": "seed of the initial weights, of augmentation on the device and of modality dropout (default: "
            "another one each time, as in nnU-Net)",
        },
    ),
    "schedule": (
        "--schedule",
        {
            "choices": SCHEDULES,
            "help": "how the learning rate falls: by the validation loss, with an early stop (plateau, default), or to "
            "0 at the last epoch, as in nnU-Net (poly), for a training of fixed length",
        },
    ),
    "region_weights": (
        "--region-weights",
        {"type": float, "nargs": "+", "metavar": "W", "help": "weight of each region in the loss (default: equal)"},
    ),
    "precision": (
        "--precision",
        {
            "choices": PRECISIONS,
            "help": "of convolutions (default: auto, fp16 on a GPU and bf16 on a CPU that is faster in it)",
        },
    ),
    "augmentation": (
        "--augmentation",
        {
            "choices": AUGMENTATIONS,
            "help": "where training batches are augmented (default: auto, the device on CUDA, else the processes that "
            "load data)",
        },
    ),
}


def add_recipe_arguments(parser: argparse.ArgumentParser, leave_out: Sequence[str] = ()) -> None:
    """Add one flag for each setting.

    Args:
        parser: of the subcommand.
        leave_out: settings that the subcommand decides itself.
    """
    group = parser.add_argument_group("recipe (defaults: the paper's)")
    for name, (flag, convert, text) in _NUMBERS.items():
        if name not in leave_out:
            default = getattr(Recipe, name)
            group.add_argument(flag, dest=name, type=convert, metavar="N", help=f"{text} (default: {default:g})")
    for name, (flag, keywords) in _OTHERS.items():
        if name not in leave_out:
            group.add_argument(flag, dest=name, **keywords)


def chosen_recipe(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the flags set, as fields of `Recipe`."""
    return {name: getattr(options, name) for name in (*_NUMBERS, *_OTHERS) if getattr(options, name, None) is not None}


def recipe_words(recipe: Mapping[str, Any]) -> list[str]:
    """Return the flags and values that set these fields of `Recipe`: what `chosen_recipe` undoes."""
    words = []
    for name, value in recipe.items():
        flag = (_NUMBERS.get(name) or _OTHERS[name])[0]
        words += [flag, *map(str, value if isinstance(value, list | tuple) else [value])]
    return words
