"""Measure what each factor of the method is worth on your data: train, predict, evaluate, and write one table.

Each rung is the stock nnUNetv2_train with its own plans, then resunet-ds predict, postprocess and evaluate; every
command is printed and can be typed by hand. Finished rungs are skipped, and a stopped ablation continues where it was.

ladder    baseline, a plain six-stage U-Net; then, each on top of those before, +deep-supervision, +depth (seven
          stages), +channels (64 to 512), +salient-channel, +focal-loss, +residual, +post-processing
alone     +deep-supervision, depth, channels, salient-channel, focal-loss, residual, post-processing: each on top of the
          baseline alone
systems   UNet, ResUNetVAE, AttentionUNet, UNETR: other networks with loss and recipe of +post-processing

Examples:
  resunet-ds ablation -d 137 --dry-run
  resunet-ds ablation -d 137 -f 0 1 2 3 4
  resunet-ds ablation -d 137 --only baseline +deep-supervision UNETR --seeds 1 2 3
  resunet-ds ablation -d 137 -f 0 1 2 3 4 --slurm ablation.sbatch
"""

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from nnunet_resunet_ds.commands.arguments import (
    add_dataset_argument,
    add_device_argument,
    add_no_tta_argument,
    add_patch_arguments,
    add_plans_arguments,
)
from nnunet_resunet_ds.commands.executor_arguments import add_job_arguments, run_on_workers, write_slurm
from nnunet_resunet_ds.commands.json_answer import add_json_argument, answer
from nnunet_resunet_ds.training.planning.recipe_flags import add_recipe_arguments, chosen_recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnunet_resunet_ds.experiments.ablation.summary import Written
    from nnunet_resunet_ds.experiments.ablation.training_runs import Run

SUMMARY = "measure what each factor of the method is worth"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    add_dataset_argument(parser)
    parser.add_argument(
        "--only",
        nargs="+",
        default=["ladder", "alone", "systems"],
        metavar="RUNG",
        help="rungs or groups of rungs (default: ladder alone systems)",
    )
    parser.add_argument("-f", dest="folds", type=int, nargs="+", default=[0], metavar="FOLD", help="folds (default: 0)")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1], metavar="N", help="of each rung and fold (default: 1)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands that would run, and stop")
    parser.add_argument("--name", default="Ablation", help="name of the folder and of the plans (default: %(default)s)")
    add_device_argument(parser)
    add_plans_arguments(parser, " to start from")
    parser.add_argument("--protocol", help="protocol of the evaluation (default: brats2023-gli)")
    add_no_tta_argument(parser)
    network = parser.add_argument_group("network")
    add_patch_arguments(network, "128 128 128")
    network.add_argument(
        "--width", type=float, default=1.0, metavar="W", help="factor of all numbers of channels (default: 1)"
    )
    add_recipe_arguments(parser, leave_out=("gamma", "seed"))
    add_job_arguments(parser)
    add_json_argument(parser)


def run(options: argparse.Namespace) -> None:
    """Run what is missing, and write the table of all finished runs."""
    from nnunet_resunet_ds.evaluation.protocols import DEFAULT
    from nnunet_resunet_ds.experiments.ablation.rungs import rungs_named
    from nnunet_resunet_ds.experiments.ablation.settings import Settings

    rungs = rungs_named(options.only)
    settings = Settings(
        dataset_id=options.dataset_id,
        name=options.name,
        configuration=options.configuration,
        stock_plans=options.plans,
        patch_size=options.patch_size,
        batch_size=options.batch_size,
        width=options.width,
        recipe=chosen_recipe(options),
        use_mirroring=not options.no_tta,
        protocol=options.protocol or DEFAULT,
    )
    from nnunet_resunet_ds.cluster.fold_trainings import check_split
    from nnunet_resunet_ds.experiments.ablation.run_ladder import ablation, commands, jobs_of, runs_for_other_machines

    wanted = (settings, rungs, options.seeds, options.folds)
    on_a_gpu = options.device or "cuda"  # of another machine, whatever this one has
    if options.dry_run:
        for command in commands(*wanted, options.device):
            print(f"$ {command}")
    elif options.slurm:
        jobs = jobs_of(runs_for_other_machines(*wanted), rungs, on_a_gpu)
        write_slurm(options, f"resunet-ds-{settings.name}", jobs, on_a_gpu)
        print("when they have ended, the same command without --slurm writes the table")
    elif options.scheduler:

        def on_workers(runs: "Sequence[Run]", device: str) -> Mapping[str, str]:
            check_split(settings.preprocessed)
            return run_on_workers(options, jobs_of(runs, rungs, device), device)

        ablation(*wanted, on_a_gpu, run=on_workers, done=partial(_show, options))
    else:
        ablation(*wanted, options.device, done=partial(_show, options))


def _show(options: argparse.Namespace, written: "Written") -> None:
    from nnunet_resunet_ds.base.text_table import aligned

    answer(options, asdict(written))
    for table in written.tables:
        print(f"\n{table.title}")
        for line in aligned([table.header, *table.rows]):
            print(line)
    for path in written.files:
        print(f"wrote {path}")
