"""See all steps work, on made-up images and without a GPU, in four to ten minutes on two cores.

Makes a cohort of phantoms in the BraTS 2021 layout, then prints and runs the commands that you would type on real data:
convert, plan, train, predict, postprocess, evaluate, report. Ends with a Dice table of held-out cases, a picture, and a
report to open in a browser. Scores on phantoms say nothing about patients. With --case, the starter model then predicts
a real case, with a report of its own.

Examples:
  resunet-ds demo -o demo_output
  resunet-ds demo -o demo_output --case /data/BraTS2021_val/BraTS2021_00001
"""

import argparse
from pathlib import Path

SUMMARY = "run all steps on made-up images, in four to ten minutes on two cores"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument(
        "-o",
        dest="folder",
        type=Path,
        default=Path("demo_output"),
        metavar="FOLDER",
        help="output folder (default: demo_output)",
    )
    parser.add_argument(
        "--case", type=Path, metavar="FOLDER", help="a real case, which the starter model predicts at the end"
    )
    parser.add_argument("-device", default="cpu", choices=("cpu", "cuda"), help="as in nnU-Net (default: cpu)")


def run(options: argparse.Namespace) -> None:
    """Run the demo."""
    from nnunet_resunet_ds.demo.held_out import PICTURE, score_lines
    from nnunet_resunet_ds.demo.run_demo import LABELS, REAL_REPORT, REPORT, demo

    folder = options.folder.resolve()
    summary = demo(folder, options.device, options.case.resolve() if options.case else None)
    print("\n".join(["", *score_lines(summary), ""]))
    print(f"{summary['seconds']} s; picture: {folder / PICTURE}; label maps: {folder / LABELS}")
    print(f"open in a browser: {folder / REPORT}")
    if options.case:
        print(f"the real case: {folder / REAL_REPORT}")
