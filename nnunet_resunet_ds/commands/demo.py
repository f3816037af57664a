"""See the whole way work, on made-up images and without a GPU, in a few minutes.

Makes a cohort of phantoms in the BraTS 2021 layout, then runs the same commands you would type on real data, printing
each: convert, plan, train, predict, postprocess, evaluate, report. Ends with a Dice table of held-out cases, a picture,
and a report to open in a browser. What the table says of phantoms says nothing about patients.

Example:
  resunet-ds demo -o demo_output
"""

import argparse
from pathlib import Path

SUMMARY = "the whole way on made-up images, in a few minutes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    parser.add_argument(
        "-o",
        dest="folder",
        type=Path,
        default=Path("demo_output"),
        metavar="FOLDER",
        help="output (default: demo_output)",
    )
    parser.add_argument("-device", default="cpu", choices=("cpu", "cuda"), help="as in nnU-Net (default: cpu)")


def run(options: argparse.Namespace) -> None:
    """Run the demo."""
    from nnunet_resunet_ds.demo.held_out import PICTURE, table
    from nnunet_resunet_ds.demo.run_demo import demo
    from nnunet_resunet_ds.demo.workflow import REPORT

    folder = options.folder.resolve()
    summary = demo(folder, options.device)
    print(f"\n{table(summary)}\n\n{summary['seconds']} s; picture: {folder / PICTURE}; label maps: {folder / 'labels'}")
    print(f"open in a browser: {folder / REPORT}")
