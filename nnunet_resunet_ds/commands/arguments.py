"""Add the arguments that several subcommands share, by nnU-Net's letters: dataset, plans, device and others."""

import argparse
import re

from nnunet_resunet_ds.base.model_id import CONFIGURATION
from nnunet_resunet_ds.base.nnunet_folders import NNUNET_FOLDERS, PLANS, datasets_with_id
from nnunet_resunet_ds.compute import AUTO, PRECISIONS
from nnunet_resunet_ds.plans import PAPER_BATCH_SIZE

_DATASET_NAME = re.compile(r"Dataset(?P<id>\d{3,})_(?P<name>.+)")


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


def add_dataset_argument(parser: argparse.ArgumentParser) -> None:
    """Add the dataset that a subcommand is about."""
    parser.add_argument(
        "-d", dest="dataset_id", type=dataset_id, required=True, metavar="ID", help="dataset, by number or whole name"
    )


def add_plans_arguments(parser: argparse.ArgumentParser, what_for: str = "") -> None:
    """Add configuration and plans, the stock ones where nothing is said.

    Args:
        parser: of the subcommand.
        what_for: said after "plans" in the help.
    """
    parser.add_argument("-c", dest="configuration", default=CONFIGURATION, help="configuration (default: %(default)s)")
    parser.add_argument(
        "-p", dest="plans", default=PLANS, metavar="PLANS", help=f"plans{what_for} (default: %(default)s)"
    )


def add_device_argument(parser: argparse._ActionsContainer, default: str = "cuda where there is a GPU") -> None:
    """Add the device; None stands for the default, which the help names."""
    parser.add_argument("-device", choices=("cpu", "cuda", "mps"), help=f"(default: {default})")


def add_precision_argument(parser: argparse._ActionsContainer) -> None:
    """Add the number format of convolutions."""
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=AUTO,
        help="of convolutions (default: auto, fp16 on a GPU and bf16 on a CPU that is faster in it)",
    )


def add_no_tta_argument(parser: argparse._ActionsContainer) -> None:
    """Add the argument that leaves out the flips."""
    parser.add_argument(
        "--no-tta", action="store_true", help="no flips: an eighth of the time, not what the paper does"
    )


def add_patch_arguments(parser: argparse._ActionsContainer, default_patch: str) -> None:
    """Add the size of a patch and of a batch.

    Args:
        parser: of the subcommand.
        default_patch: for the help.
    """
    parser.add_argument(
        "--patch-size", type=int, nargs=3, metavar=("Z", "Y", "X"), help=f"voxels (default: {default_patch})"
    )
    parser.add_argument(
        "--batch-size", type=int, default=PAPER_BATCH_SIZE, metavar="N", help="patches a step (default: %(default)s)"
    )
