"""Translate label maps from nnU-Net's values to those of a BraTS edition, ready to hand in.

File names and geometry stay as they are.

Example:
  resunet-ds submission -i labels -o to_hand_in
"""

import argparse
from pathlib import Path

SUMMARY = "label maps → an edition's label values"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("-i", dest="input_folder", type=Path, required=True, metavar="INPUT", help="of CASE.nii.gz")
    parser.add_argument("-o", dest="output_folder", type=Path, required=True, metavar="OUTPUT", help="another folder")
    parser.add_argument("--edition", default="auto", help="as in convert (default: auto, from the file names)")


def run(options: argparse.Namespace) -> None:
    """Translate, and say to which edition."""
    from dataset_conversion.submission import write_submission

    edition, written = write_submission(options.input_folder, options.output_folder, options.edition)
    values = ", ".join(f"{raw} {tissue.name}" for raw, tissue in edition.tissues.items() if tissue)
    print(f"wrote {len(written)} label maps of {edition.title} ({values}) to {options.output_folder}")
