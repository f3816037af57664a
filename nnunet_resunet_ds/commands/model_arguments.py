"""Add and read the arguments that choose trained models, and how they predict, by nnU-Net's letters."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.model_id import CONFIGURATION, TRAINER, find_model_folder
from nnunet_resunet_ds.commands.arguments import (
    add_device_argument,
    add_no_tta_argument,
    add_precision_argument,
    dataset_id,
)
from nnunet_resunet_ds.models.starter import STARTER, STARTER_FOLDER
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import FINAL

if TYPE_CHECKING:
    from nnunet_resunet_ds.inference.model import ModelFiles
    from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings


def model_folder(text: str) -> Path:
    """Return the folder of a model, or of the starter model by its name."""
    return STARTER_FOLDER if text == STARTER else Path(text)


def add_model_arguments(
    parser: argparse.ArgumentParser, *, several: bool, starter: bool = False, **choice: bool
) -> None:
    """Add the arguments that choose a model and how it predicts.

    Args:
        parser: of the subcommand.
        several: whether ``-m`` can be given more than once.
        starter: whether the starter model is taken where none is named.
        choice: the others of `add_model_choice_arguments`.
    """
    without = "Without -d and -m: the starter model, see resunet-ds models." if starter else None
    group = parser.add_argument_group("model", without)
    add_model_choice_arguments(group, several=several, starter=starter, **choice)
    add_device_argument(group)
    add_precision_argument(group)
    add_no_tta_argument(group)


def add_model_choice_arguments(
    group: "argparse._ArgumentGroup",
    *,
    several: bool,
    takes_checkpoint: bool = True,
    starter: bool = False,
    needs_training_cases: bool = False,
) -> None:
    """Add the arguments that choose a model, and of it folds and weights.

    Args:
        group: of the subcommand's arguments.
        several: whether ``-m`` can be given more than once.
        takes_checkpoint: whether the weights' file in the folder of a fold can be chosen.
        starter: whether the starter model is taken where none is named.
        needs_training_cases: whether the dataset must be here, so that the starter model cannot be chosen.
    """
    which = group.add_mutually_exclusive_group(required=not starter)
    which.add_argument(
        "-d", dest="dataset_id", type=dataset_id, metavar="ID", help="dataset that it was trained on, such as 137"
    )
    other = "" if needs_training_cases else f", or {STARTER}"
    which.add_argument(
        "-m",
        dest="model_folders",
        type=model_folder,
        action="append",
        metavar="FOLDER",
        help=f"its folder, TRAINER__PLANS__CONFIGURATION{other}" + ("; again for an ensemble" if several else ""),
    )
    group.add_argument(
        "-tr", dest="trainer", default=TRAINER, metavar="NAME", help="trainer that trained it (default: %(default)s)"
    )
    group.add_argument(
        "-p",
        dest="plans",
        metavar="PLANS",
        help="plans that it was trained with (default: those of the one model of this dataset)",
    )
    group.add_argument(
        "-c", dest="configuration", default=CONFIGURATION, metavar="NAME", help="configuration (default: %(default)s)"
    )
    group.add_argument(
        "-f", dest="folds", nargs="+", metavar="FOLD", help="folds, such as 0 1 (default: every fold that is trained)"
    )
    if takes_checkpoint:
        group.add_argument(
            "-chk",
            dest="checkpoint",
            default=FINAL,
            metavar="FILE",
            help="file of the weights in the folder of each fold (default: %(default)s)",
        )


def chosen_model_folders(options: argparse.Namespace) -> list[Path]:
    """Return the folders that the arguments name.

    Raises:
        InputError: no such model.
    """
    if options.model_folders:
        return list(options.model_folders)
    if options.dataset_id is None:
        return [_starter_folder(options)]
    return [find_model_folder(options.dataset_id, options.trainer, options.configuration, options.plans)]


def chosen_model_folder(options: argparse.Namespace, why_one: str) -> Path:
    """Return the one folder that the arguments name.

    Args:
        options: of the subcommand.
        why_one: for the message.

    Raises:
        InputError: no such model, or several.
    """
    folder, *others = chosen_model_folders(options)
    if others:
        msg = f"give one model with -m: {why_one}"
        raise InputError(msg)
    return folder


def chosen_model_with_cases(options: argparse.Namespace, why_one: str) -> Path:
    """Return the one folder that the arguments name, of a model whose training cases are here.

    Raises:
        InputError: as `chosen_model_folder` does, or it is the starter model.
    """
    folder = chosen_model_folder(options, why_one)
    if folder == STARTER_FOLDER:
        msg = (
            "the starter model: the cases that it was trained on do not come with it, and this needs them; train on "
            "from it with your own (docs/how_to/fine_tune.md)"
        )
        raise InputError(msg)
    return folder


def _starter_folder(options: argparse.Namespace) -> Path:
    """Return the folder of the starter model, of which there is one: the words for others mean a forgotten -d."""
    defaults = {"trainer": TRAINER, "plans": None, "configuration": CONFIGURATION}
    flags = {"trainer": "-tr", "plans": "-p", "configuration": "-c"}
    given = [flags[name] for name, default in defaults.items() if getattr(options, name) != default]
    if given:
        msg = f"{', '.join(given)} names a model of a dataset: give the dataset, too, with -d"
        raise InputError(msg)
    return STARTER_FOLDER


def chosen_settings(
    options: argparse.Namespace,
    models: "Sequence[ModelFiles]",
    **others: Any,  # noqa: ANN401 (those of the class)
) -> "PredictionSettings":
    """Return how the model arguments ask to predict.

    Args:
        options: of the subcommand.
        models: which to predict with.
        others: settings that only some subcommands have arguments for.
    """
    from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings

    return PredictionSettings(
        models=tuple(models),
        device=options.device,
        precision=options.precision,
        use_mirroring=not options.no_tta,
        **others,
    )
