"""Measure how fast each stage is on this machine, against stock nnU-Net and MONAI on the same data and weights.

The stages are a training step, prediction from files to a file with eight flips, loading and augmentation, conversion,
post-processing, evaluation and tuning, on made-up images with random weights. Ours and the others take turns, so that
other work on the machine slows all of them; look at how many times as fast one is, and how that varies. A stage that
fails has a row that says so, and the others go on. On a GPU, --full takes some five minutes.

Examples:
  resunet-ds benchmark --quick
  resunet-ds benchmark --full -o benchmark_h200 --only training prediction
  resunet-ds benchmark --full --no-tta --rounds 1 -device cpu
"""

import argparse
from pathlib import Path

from nnunet_resunet_ds.base.nnunet_folders import temporary_nnunet_folders
from nnunet_resunet_ds.commands.arguments import add_device_argument, add_no_tta_argument, add_precision_argument

SUMMARY = "measure how fast each stage is here, against nnU-Net and MONAI"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--quick", dest="size", action="store_const", const="quick", default="quick", help="a small network (default)"
    )
    size.add_argument(
        "--full", dest="size", action="store_const", const="full", help="the paper's network, 128³, images as BraTS'"
    )
    parser.add_argument(
        "-o",
        dest="output",
        type=Path,
        default=Path("benchmark"),
        metavar="NAME",
        help="write NAME.md and NAME.json (default: benchmark)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="TASK",
        help="of training prediction loading conversion postprocessing evaluation tuning (default: all)",
    )
    parser.add_argument(
        "--against",
        nargs="+",
        choices=("nnunet", "monai"),
        default=["nnunet", "monai"],
        help="whom to compare with (default: both)",
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="timed runs of each (default: 3)")
    add_device_argument(parser)
    add_precision_argument(parser)
    add_no_tta_argument(parser)


def run(options: argparse.Namespace) -> None:
    """Measure, and print the table.

    Raises:
        Exception: that of the first task that failed, after all others are done and written.
    """
    with temporary_nnunet_folders() as folder:
        from nnunet_resunet_ds.experiments.benchmark.run_benchmark import TASKS, Failed, benchmark

        results = benchmark(
            folder,
            options.output,
            size=options.size,
            tasks=tuple(dict.fromkeys(options.only or TASKS)),
            against=options.against,
            rounds=options.rounds,
            device=options.device,
            precision=options.precision,
            use_mirroring=not options.no_tta,
        )
    page = options.output.with_suffix(".md")
    print(f"\n{page.read_text(encoding='utf-8')}\nwrote {page} and {options.output.with_suffix('.json')}")
    for result in results:
        if isinstance(result, Failed):
            raise result.error
