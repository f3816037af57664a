"""Add and read the arguments that give the images of a single case one by one."""

import argparse
from pathlib import Path

FLAGS = {"T1": "t1", "T1ce": "t1ce", "T2": "t2", "FLAIR": "flair"}
"""Sequence → flag of its image."""
ALL_FLAGS = " ".join(f"--{name}" for name in FLAGS.values())
"""For messages."""


def add_image_arguments(parser: argparse._ActionsContainer) -> None:
    """Add a flag for the image of each sequence."""
    for sequence, name in FLAGS.items():
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"{sequence} image of a single case")


def image_files(options: argparse.Namespace) -> dict[str, Path]:
    """Return sequence → image, of those that are given."""
    return {sequence: file for sequence, flag in FLAGS.items() if (file := getattr(options, flag))}
