"""List what can predict here: the starter model, which comes with the package, and your own below $nnUNet_results.

Dice is a mean over cases that the weights in question had not seen: as the card of the starter model says, or as
nnU-Net's validation of the trained folds found. TFLOP is the work of all folds for a case of usual size without flips;
the eight flips of the paper take eight times that.

Examples:
  resunet-ds models
  resunet-ds predict -i /data/BraTS2021_val -o labels              # with the starter model
  resunet-ds predict -i /data/BraTS2021_val -o labels -d 137       # with your own
"""

import argparse
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

from nnunet_resunet_ds.commands.json_answer import add_json_argument, answer

if TYPE_CHECKING:
    from nnunet_resunet_ds.models.inventory import KnownModel

SUMMARY = "list what can predict here: the starter model and your own"
_HEADER = ("model", "data", "cases", "folds", "Dice", "MB", "TFLOP")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    add_json_argument(parser)


def run(options: argparse.Namespace) -> None:
    """Print a table, and what the starter model is."""
    from nnunet_resunet_ds.base.text_table import aligned
    from nnunet_resunet_ds.models.card_text import CARD_TEXT
    from nnunet_resunet_ds.models.inventory import known_models
    from nnunet_resunet_ds.models.starter import STARTER, STARTER_FOLDER, starter_card

    models = list(known_models())
    answer(options, list(map(asdict, models)))
    print(*aligned([_HEADER, *map(_row, models)]), "", sep="\n")
    if STARTER_FOLDER.is_dir():
        card = starter_card()
        print(f"starter: {card.headline}", card.prediction, f"its card: {STARTER_FOLDER / CARD_TEXT}", sep="\n")
    for model in models:
        if model.n_seen_before:
            seen = f"the model that it started from had seen {model.n_seen_before} of its validation cases"
            print(f"* {model.name}: {seen}, so Dice of new cases is lower")
        if model.unmeasured_folds:
            missing = ", ".join(model.unmeasured_folds)
            print(f"{model.name}: Dice is without fold {missing}; validate it with nnUNetv2_train … --val")
    own = [model for model in models if model.name != STARTER]
    if own:
        print("choose one of yours with -d and -p, or with -m $nnUNet_results/MODEL")
    elif "nnUNet_results" in os.environ:
        print("no model of your own is below $nnUNet_results; resunet-ds --help shows how to train one")
    else:
        print("the variable nnUNet_results is not set, so that models of your own are not looked for")


def _row(model: "KnownModel") -> tuple[str, ...]:
    dice = ", ".join(f"{region} {value:.3f}" for region, value in model.dice.items())
    return (
        model.name,
        model.data,
        str(model.n_cases),
        ", ".join(model.folds),
        (dice or "not measured") + ("*" if model.n_seen_before else ""),
        f"{model.megabytes:.1f}",
        f"{model.tera_operations:g}",
    )
