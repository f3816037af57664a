"""Translate label maps to the values of a BraTS edition, ready to hand in.

What the values of INPUT are is taken from run.json or dataset.json there. File names and geometry stay as they are.
Hand in the .nii.gz files; run.json stays with you, so that nothing is translated twice.

Examples:
  resunet-ds submission -i labels -o to_hand_in
  resunet-ds submission -i from_elsewhere -o to_hand_in --labels nnunet --edition 2023-gli
"""

import argparse
from pathlib import Path

from nnunet_resunet_ds.commands.arguments import add_overwrite_argument
from nnunet_resunet_ds.commands.convert import add_edition_arguments

SUMMARY = "label maps → an edition's label values"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("-i", dest="input_folder", type=Path, required=True, metavar="INPUT", help="of CASE.nii.gz")
    parser.add_argument("-o", dest="output_folder", type=Path, required=True, metavar="OUTPUT", help="another folder")
    parser.add_argument(
        "--labels",
        metavar="LABELS",
        help="what the values of INPUT are: nnunet, or an edition such as 2021 (default: as a file there says)",
    )
    add_overwrite_argument(parser)
    add_edition_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Translate, and say to which edition."""
    from dataset_conversion.submission import write_submission

    edition, written = write_submission(
        options.input_folder,
        options.output_folder,
        options.edition,
        edition_file=options.edition_file,
        labels=options.labels,
        overwrite=options.overwrite,
    )
    values = ", ".join(f"{raw} {edition.tissue_name(tissue)}" for raw, tissue in edition.tissues.items() if tissue)
    print(f"wrote {len(written)} label maps of {edition.title} ({values}) to {options.output_folder}")
