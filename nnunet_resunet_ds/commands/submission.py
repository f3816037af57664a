"""Translate label maps to the label values of a BraTS edition, to hand them in.

The file run.json or dataset.json in INPUT says what the values mean now. Geometry does not change. File names do not
change, except for MEN-RT, which needs CASE_gtv.nii.gz. Hand in the .nii.gz files only. Keep run.json: it prevents a
second translation.

Examples:
  resunet-ds submission -i labels -o to_hand_in
  resunet-ds submission -i from_elsewhere -o to_hand_in --labels nnunet --edition 2023-gli
"""

import argparse
from pathlib import Path

from nnunet_resunet_ds.commands.arguments import add_overwrite_argument
from nnunet_resunet_ds.commands.convert import add_edition_arguments

SUMMARY = "translate label maps to the label values of a BraTS edition"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument(
        "-i", dest="input_folder", type=Path, required=True, metavar="INPUT", help="folder of label maps, CASE.nii.gz"
    )
    parser.add_argument(
        "-o", dest="output_folder", type=Path, required=True, metavar="OUTPUT", help="folder to write to"
    )
    parser.add_argument(
        "--labels",
        metavar="LABELS",
        help="what the label values in INPUT mean: nnunet, or an edition such as 2021 (default: what run.json or "
        "dataset.json says)",
    )
    add_overwrite_argument(parser)
    add_edition_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Translate, and print to which edition."""
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
