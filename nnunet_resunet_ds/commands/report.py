"""Write one HTML file about a cohort: figures, a table of all cases, and a viewer with contours for each.

The file needs no other file and no network. Without -ref it shows volumes and flags instead of scores. Without
--protocol, a dataset of other regions than WT, TC and ET is scored by the protocol that has them, or by Dice and HD95.

Examples:
  resunet-ds report -i /data/BraTS2021_val -pred labels -ref /data/BraTS2021_reference -o report.html
  resunet-ds report -i imagesTs -pred labels -ref labelsTs --metrics metrics.json --before predictions -o report.html
  resunet-ds report --t1 t1.nii.gz --t1ce t1ce.nii.gz --t2 t2.nii.gz --flair flair.nii.gz -pred tumour.nii.gz -o r.html
"""

import argparse
from dataclasses import fields
from pathlib import Path

from nnunet_resunet_ds.base.counted import counted
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.commands.edition_arguments import add_edition_arguments, add_label_arguments
from nnunet_resunet_ds.commands.executor_arguments import add_executor_arguments, chosen_executor
from nnunet_resunet_ds.commands.given_paths import check_files
from nnunet_resunet_ds.commands.single_case import ALL_FLAGS, add_image_arguments, image_files

SUMMARY = "write one HTML file about a cohort: figures, table and pictures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument(
        "-i",
        dest="images",
        nargs="+",
        type=Path,
        default=[],
        metavar="IMAGES",
        help="folders of the images that were predicted",
    )
    add_image_arguments(parser)
    parser.add_argument(
        "-pred", dest="prediction", type=Path, required=True, metavar="PREDICTION", help="predicted label maps"
    )
    parser.add_argument("-ref", dest="reference", type=Path, metavar="REFERENCE", help="reference label maps")
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="HTML", help="HTML file to write")
    parser.add_argument(
        "--metrics", type=Path, metavar="JSON", help="metrics that resunet-ds evaluate wrote (default: evaluate now)"
    )
    parser.add_argument(
        "--before", type=Path, metavar="LABELS", help="label maps before post-processing, to show what it changed"
    )
    add_label_arguments(parser)
    parser.add_argument(
        "--quality",
        type=int,
        default=15,
        metavar="N",
        help="quality of the pictures, 1 to 100: 15 takes about 0.5 MB a case, 50 about 0.9 MB (default: 15)",
    )
    parser.add_argument(
        "--max-viewers",
        type=int,
        default=100,
        metavar="N",
        help="show pictures of at most N cases, the worst first (default: 100)",
    )
    parser.add_argument("--title", default="Brain-tumour segmentation", help="title of the page")
    parser.add_argument(
        "--skip-invalid",
        action="store_true",
        help="leave out what cannot be shown (a case, its pictures or its scores) instead of stopping",
    )
    add_executor_arguments(parser)
    add_edition_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Write the report, and print where it is."""
    from nnunet_resunet_ds.report import ReportSettings, write_report

    options.image_files = image_files(options)
    if bool(options.image_files) == bool(options.images):
        msg = f"give either folders of images with -i, or those of one case with {ALL_FLAGS}"
        raise InputError(msg)
    check_files(options.image_files.values())
    settings = ReportSettings(**{field.name: getattr(options, field.name) for field in fields(ReportSettings)})
    images = [*settings.images, *settings.image_files.values()]
    folders = [*images, settings.prediction, settings.reference, settings.before]
    with chosen_executor(options, filter(None, folders)) as executor:
        written = write_report(settings, executor)
    for problem in written.problems:
        print(f"warning: {problem}")
    with_pictures = sum(case.pictures is not None for case in written.cases)
    size = settings.output.stat().st_size / 1e6
    print(
        f"wrote {settings.output}: {counted(len(written.cases), 'case')}, {with_pictures} with pictures, {size:.1f} MB"
    )
