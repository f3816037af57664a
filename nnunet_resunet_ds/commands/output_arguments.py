"""The arguments of every subcommand that writes label maps."""

import argparse


def add_overwrite_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument that lets label maps of other settings stay."""
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="write into a folder in which label maps of other settings stay; run.json says of each what made it",
    )
