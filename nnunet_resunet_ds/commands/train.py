"""Train all folds of one trainer with the stock nnUNetv2_train: here, on a Dask cluster, or as a SLURM array.

Folds that are trained and validated are left out, and stopped ones go on, so that the same command can be given again.
For one fold on this machine, nnUNetv2_train itself is as good.

Examples:
  resunet-ds train -d 137
  resunet-ds train -d 137 -f 0 1 2 3 4 --scheduler tcp://HOST:8786
  resunet-ds train -d 137 --slurm train.sbatch && sbatch --partition=gpu --time=2-00:00:00 train.sbatch
"""

import argparse

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.model_id import TRAINER
from nnunet_resunet_ds.base.setting_checks import check_whole_number
from nnunet_resunet_ds.commands.arguments import add_dataset_argument, add_device_argument, add_plans_arguments
from nnunet_resunet_ds.commands.executor_arguments import add_job_arguments, run_on_workers, write_slurm

SUMMARY = "train all folds of one trainer, here or on a cluster"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this subcommand's arguments."""
    add_dataset_argument(parser)
    parser.add_argument("-f", dest="folds", type=int, nargs="+", metavar="FOLD", help="(default: all of the split)")
    parser.add_argument("-tr", dest="trainer", default=TRAINER, metavar="NAME", help="trainer (default: %(default)s)")
    add_plans_arguments(parser)
    add_device_argument(parser, "cuda; without a cluster and a GPU, cpu")
    parser.add_argument(
        "-num_gpus", dest="n_gpus", type=int, default=1, metavar="N", help="GPUs of one machine a fold (default: 1)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands, and run none")
    add_job_arguments(parser)


def run(options: argparse.Namespace) -> None:
    """Train what is not finished, or write the script that does."""
    from nnunet_resunet_ds.cluster.fold_trainings import Trainings, check_split, guarded, unfinished_folds
    from nnunet_resunet_ds.cluster.jobs import settings_for, shell_line
    from nnunet_resunet_ds.cluster.runners import run_here
    from nnunet_resunet_ds.compute.device import chosen_device

    check_whole_number("-num_gpus", options.n_gpus, at_least=1)
    device = options.device or ("cuda" if options.scheduler or options.slurm else chosen_device(None).type)
    trainings = Trainings(
        dataset_id=options.dataset_id,
        configuration=options.configuration,
        trainer=options.trainer,
        plans=options.plans,
        device=device,
        n_gpus=options.n_gpus,
    )
    folds = trainings.all_folds() if options.folds is None else options.folds
    jobs = unfinished_folds(trainings, folds)
    if not jobs:
        print(f"{trainings.model_folder}: every fold asked for is trained and validated")
    elif options.dry_run:
        for job in jobs:
            print(f"$ {shell_line(job.command, settings_for(device))}")
    elif options.slurm:
        check_split(trainings.preprocessed)
        arrayed = [guarded(trainings, job) for job in jobs]
        write_slurm(options, f"resunet-ds-{options.dataset_id}", arrayed, device, options.n_gpus)
    else:
        if options.scheduler:
            check_split(trainings.preprocessed)
            failures = run_on_workers(options, jobs, device, options.n_gpus)
        else:
            failures = run_here(jobs, device)
        if failures:
            raise InputError("\n".join(f"{name}: {why}" for name, why in failures.items()))
        print(f"trained: {trainings.model_folder}")
