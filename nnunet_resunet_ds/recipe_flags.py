"""The recipe as flags of ``resunet-ds plan``: the one place that knows both a setting's name and its flag."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from nnunet_resunet_ds.recipe import PRECISIONS, Recipe

_NUMBERS = {
    "epochs": ("--epochs", int, "at most this many"),
    "iterations_per_epoch": ("--iterations", int, "training steps an epoch"),
    "val_iterations_per_epoch": ("--val-iterations", int, "validation batches an epoch"),
    "initial_lr": ("--lr", float, "initial learning rate"),
    "weight_decay": ("--weight-decay", float, "of Adam"),
    "dice_weight": ("--dice-weight", float, "share of Dice in the loss, 0 to 1"),
    "gamma": ("--gamma", float, "focusing exponent of the focal loss"),
    "plateau_factor": ("--plateau-factor", float, "factor on the learning rate when the validation loss stays"),
    "plateau_patience": ("--plateau-patience", int, "epochs without improvement that are borne before"),
    "stopping_patience": ("--patience", int, "epochs without improvement after which training stops"),
}
_OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "seed": (
        "--seed",
        {
            "type": int,
            "metavar": "N",
            "help": "of the initial weights (default: another one each time, as in nnU-Net)",
        },
    ),
    "region_weights": (
        "--region-weights",
        {"type": float, "nargs": "+", "metavar": "W", "help": "one a region (default: equal)"},
    ),
    "precision": (
        "--precision",
        {
            "choices": PRECISIONS,
            "help": "of convolutions (default: auto, fp16 on a GPU and bf16 on a CPU that is faster in it)",
        },
    ),
}


def add_recipe_arguments(parser: argparse.ArgumentParser, leave_out: Sequence[str] = ()) -> None:
    """Add a flag a setting.

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
