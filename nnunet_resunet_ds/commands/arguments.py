"""Add and read the arguments that several subcommands share, by nnU-Net's letters: dataset and model."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.model_id import CONFIGURATION, TRAINER, find_model_folder
from nnunet_resunet_ds.base.nnunet_folders import NNUNET_FOLDERS, datasets_with_id
from nnunet_resunet_ds.compute import AUTO, PRECISIONS
from nnunet_resunet_ds.models.starter import STARTER, STARTER_FOLDER

if TYPE_CHECKING:
    from nnunet_resunet_ds.inference.model import ModelFiles
    from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings

_DATASET_NAME = re.compile(r"Dataset(?P<id>\d{3})_(?P<name>.+)")


def id_and_name(text: str) -> tuple[int, str | None]:
    """Return the number of a dataset, and what follows it in its name where that is given.

    Args:
        text: ``137`` or ``Dataset137_BraTS2021``.

    Raises:
        argparse.ArgumentTypeError: it is neither.
    """
    match = _DATASET_NAME.fullmatch(text)
    if match:
        return int(match["id"]), match["name"]
    if not text.isdecimal():
        msg = f"{text!r} is no dataset; give its number, such as 137, or its whole name, such as Dataset137_BraTS2021"
        raise argparse.ArgumentTypeError(msg)
    return int(text), None


def dataset_id(text: str) -> int:
    """Return the number of a dataset that is there.

    Raises:
        argparse.ArgumentTypeError: it is no dataset, or the one of this number has another name.
    """
    number, name = id_and_name(text)
    there = {folder.name for variable in NNUNET_FOLDERS for folder in datasets_with_id(variable, number)}
    if name is not None and there and text not in there:
        msg = f"{text} is not there; dataset {number} is {', '.join(sorted(there))}"
        raise argparse.ArgumentTypeError(msg)
    return number


def model_folder(text: str) -> Path:
    """Return the folder of a model, or of the starter model by its name."""
    return STARTER_FOLDER if text == STARTER else Path(text)


def add_allow_missing_argument(parser: argparse._ActionsContainer, what_is_done: str) -> None:
    """Add the argument that takes cases without all sequences.

    Args:
        parser: of the subcommand.
        what_is_done: with such a case, for the help.
    """
    parser.add_argument(
        "--allow-missing",
        action="extend",
        default=[],
        type=lambda text: text.split(","),
        metavar="SEQUENCES",
        help=f"take cases that lack these sequences, such as T2 or T2,FLAIR: {what_is_done}",
    )


def add_overwrite_argument(parser: argparse._ActionsContainer) -> None:
    """Add the argument that lets label maps of other settings stay."""
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="write into a folder that has label maps of other settings; those of other cases stay, and run.json says "
        "which settings made which",
    )


def add_model_arguments(
    parser: argparse.ArgumentParser, *, several: bool, takes_checkpoint: bool = True, starter: bool = False
) -> None:
    """Add the arguments that choose a model and how it predicts.

    Args:
        parser: of the subcommand.
        several: whether ``-m`` can be given more than once.
        takes_checkpoint: whether the weights' file in the folder of a fold can be chosen.
        starter: whether the starter model is taken where none is named.
    """
    without = "Without -d and -m: the starter model, see resunet-ds models." if starter else None
    group = parser.add_argument_group("model", without)
    add_model_choice_arguments(group, several=several, takes_checkpoint=takes_checkpoint, starter=starter)
    group.add_argument("-device", choices=("cpu", "cuda", "mps"), help="(default: cuda where there is a GPU)")
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=AUTO,
        help="of convolutions (default: auto, fp16 on a GPU and bf16 on a CPU that is faster in it)",
    )
    group.add_argument("--no-tta", action="store_true", help="no flips: an eighth of the time, not what the paper does")


def add_model_choice_arguments(
    group: "argparse._ArgumentGroup", *, several: bool, takes_checkpoint: bool = True, starter: bool = False
) -> None:
    """Add the arguments that choose a model, and of it folds and weights.

    Args:
        group: of the subcommand's arguments.
        several: whether ``-m`` can be given more than once.
        takes_checkpoint: whether the weights' file in the folder of a fold can be chosen.
        starter: whether the starter model is taken where none is named.
    """
    which = group.add_mutually_exclusive_group(required=not starter)
    which.add_argument("-d", dest="dataset_id", type=dataset_id, metavar="ID", help="dataset that it was trained on")
    which.add_argument(
        "-m",
        dest="model_folders",
        type=model_folder,
        action="append",
        metavar="FOLDER",
        help=f"its folder, TRAINER__PLANS__CONFIGURATION, or {STARTER}"
        + ("; again for an ensemble" if several else ""),
    )
    group.add_argument("-tr", dest="trainer", default=TRAINER, metavar="NAME", help="(default: %(default)s)")
    group.add_argument("-p", dest="plans", metavar="PLANS", help="(default: those of the one model that is there)")
    group.add_argument("-c", dest="configuration", default=CONFIGURATION, metavar="NAME", help="(default: %(default)s)")
    group.add_argument("-f", dest="folds", nargs="+", metavar="FOLD", help="(default: every fold that is trained)")
    if takes_checkpoint:
        group.add_argument(
            "-chk", dest="checkpoint", default="checkpoint_final.pth", metavar="FILE", help="(default: %(default)s)"
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
