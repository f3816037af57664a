"""Translate label maps from nnU-Net's values to those of a BraTS edition, ready to hand in.

File names and geometry stay as they are.

Example:
  resunet-ds submission -i labels -o to_hand_in
"""

import argparse
from pathlib import Path

from nnunet_resunet_ds.commands.convert import add_edition_arguments

SUMMARY = "label maps → an edition's label values"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("-i", dest="input_folder", type=Path, required=True, metavar="INPUT", help="of CASE.nii.gz")
    parser.add_argument("-o", dest="output_folder", type=Path, required=True, metavar="OUTPUT", help="another folder")
    add_edition_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Translate, and say to which edition."""
    from dataset_conversion.submission import write_submission

    edition, written = write_submission(
        options.input_folder, options.output_folder, options.edition, edition_file=options.edition_file
    )
    values = ", ".join(f"{raw} {edition.tissue_name(tissue)}" for raw, tissue in edition.tissues.items() if tissue)
    print(f"wrote {len(written)} label maps of {edition.title} ({values}) to {options.output_folder}")
