"""Add the arguments that say what label values mean: the edition, the protocol, and what was said of them."""

import argparse
from pathlib import Path


def add_edition_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the arguments that choose the edition."""
    parser.add_argument(
        "--edition",
        default="auto",
        help="BraTS edition of the images: a year, or a name such as 2025-met, menrt, upenn-gbm, msd or custom "
        "(default: auto, from the case ids and folders)",
    )
    parser.add_argument(
        "--edition-file", type=Path, metavar="FILE", help="TOML or JSON file that describes a custom edition"
    )


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for the protocol and the meaning of label values."""
    parser.add_argument(
        "--protocol",
        help="score by the rules of this challenge: brats2021, brats2023-{gli,ssa,ped,men,met}, "
        "brats2024-{gli,ssa,ped,met,menrt}, brats2025-{gli,ssa,ped,men,met,menrt}, brats2026-{met,ped,goat} (default: "
        "brats2023-gli)",
    )
    labels = "protocol, nnunet, or an edition such as 2021 or 2023-gli"
    parser.add_argument(
        "--ref-labels",
        dest="reference_labels",
        metavar="LABELS",
        help=f"what the label values of the reference mean: {labels} (default: what files next to them say)",
    )
    parser.add_argument(
        "--pred-labels",
        dest="prediction_labels",
        metavar="LABELS",
        help="what the label values of the predictions mean (default: what files next to them say)",
    )
