"""Join what several models or tools say of the same cases into one label map a case.

Each FOLDER has label maps CASE.nii.gz in any edition's values, or the files of a release. run.json or dataset.json next
to them, or their names, say what the values mean; else say it with --input-labels. With probabilities (CASE.npz) next
to all of them, their mean is taken; predict -m A -m B does the same without files in between.

Examples:
  resunet-ds ensemble ours theirs -o joint
  resunet-ds ensemble ours theirs third -o joint --method staple --labels 2023-gli
  resunet-ds ensemble ours theirs -o joint --weights 2 1 --input-labels nnunet 2021
"""

import argparse
from pathlib import Path

from nnunet_resunet_ds.base.counted import counted
from nnunet_resunet_ds.commands.arguments import add_overwrite_argument
from nnunet_resunet_ds.commands.executor_arguments import add_executor_arguments, chosen_executor

SUMMARY = "join the label maps or probabilities of several models"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="label maps of one model or tool")
    parser.add_argument("-o", dest="output", type=Path, required=True, metavar="OUTPUT", help="folder for label maps")
    parser.add_argument(
        "--method",
        choices=("mean", "majority", "staple", "simple"),
        help="mean of probabilities; more than half of the votes; STAPLE or SIMPLE, which find out who votes well "
        "(default: mean where all folders have probabilities, else majority)",
    )
    parser.add_argument(
        "--weights", type=float, nargs="+", metavar="N", help="of each folder, in their order (default: 1 each)"
    )
    parser.add_argument(
        "--input-labels",
        nargs="+",
        default=[],
        metavar="LABELS",
        help="what the values mean now, for all folders or for each: nnunet, or an edition such as 2021",
    )
    parser.add_argument(
        "--labels", default="nnunet", metavar="LABELS", help="values to write: nnunet (default), or an edition's"
    )
    parser.add_argument("--save-probabilities", action="store_true", help="with mean: write them for postprocess, too")
    add_overwrite_argument(parser)
    add_executor_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Join, and say how."""
    from nnunet_resunet_ds.ensembles.ensemble_folder import write_ensemble

    with chosen_executor(options, options.folders, [options.output]) as executor:
        ensemble, written = write_ensemble(
            options.folders,
            options.output,
            method=options.method,
            weights=options.weights,
            input_labels=options.input_labels,
            labels=options.labels,
            save_probabilities=options.save_probabilities,
            overwrite=options.overwrite,
            executor=executor,
        )
    for member in ensemble.members:
        print(member.described)
    regions = ", ".join(region.name for region in ensemble.regions)
    print(f"wrote {counted(len(written), 'label map')} of {regions} to {options.output}, joined by {ensemble.method}")
