"""Where long commands run: one after the other here, on the workers of a scheduler, or as a SLURM array."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.nnunet_folders import NNUNET_FOLDERS, nnunet_folder

if TYPE_CHECKING:
    from nnunet_resunet_ds.cluster.jobs import Job


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="train on the workers of a Dask scheduler, tcp://HOST:8786, that offer --resources GPU=1; see "
        "docs/cluster.md",
    )
    where.add_argument(
        "--slurm",
        type=Path,
        metavar="FILE",
        help="write a SLURM array script, NAME.sbatch, to submit",
    )


def job_variables(device: str) -> dict[str, str]:
    """Return what jobs need in their environment wherever they run."""
    from nnunet_resunet_ds.cluster.jobs import settings_for

    folders = {variable: str(nnunet_folder(variable).absolute()) for variable in NNUNET_FOLDERS}
    return {**folders, **settings_for(device)}


def run_on_workers(
    options: argparse.Namespace, jobs: "Sequence[Job]", device: str, n_gpus: int = 1
) -> Mapping[str, str]:
    """Run jobs on the workers of the scheduler; return what went wrong, by the name of the job."""
    from nnunet_resunet_ds.cluster.jobs import epoch_bar
    from nnunet_resunet_ds.cluster.runners import run_jobs
    from nnunet_resunet_ds.commands.executor_arguments import connected_or_refused

    if "://" not in options.scheduler:
        msg = f"--scheduler {options.scheduler}: trainings need workers with a GPU each, of a scheduler tcp://HOST:8786"
        raise InputError(msg)
    variables = job_variables(device)
    raw, preprocessed, results = (Path(variables[name]) for name in NNUNET_FOLDERS)
    with (
        connected_or_refused(options, [raw], [preprocessed, results], resources={"GPU": n_gpus}) as executor,
        epoch_bar(jobs) as bar,
    ):
        return run_jobs(jobs, executor, variables, bar.look)


def write_slurm(options: argparse.Namespace, name: str, jobs: "Sequence[Job]", device: str, n_gpus: int = 1) -> None:
    """Write the array script and say how it is submitted."""
    from nnunet_resunet_ds.base.files import check_output_file, replacing
    from nnunet_resunet_ds.cluster.runners import array_script

    check_output_file(options.slurm, ".sbatch")
    if not jobs:
        print("every run is finished: there is nothing to submit")
        return
    needed = n_gpus if device == "cuda" else 0
    script = array_script(name, jobs, job_variables(device), options.slurm, n_gpus=needed)
    with replacing(options.slurm) as temporary:
        temporary.write_text(script, encoding="utf-8")
    print(f"wrote {options.slurm}: {len(jobs)} jobs on {device}; submit them with: sbatch {options.slurm}")
