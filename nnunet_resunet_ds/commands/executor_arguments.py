"""Choose where a command works: in threads here, on the workers of a Dask scheduler, or as a SLURM array."""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.nnunet_folders import NNUNET_FOLDERS, nnunet_folder

if TYPE_CHECKING:
    from nnunet_resunet_ds.cluster.jobs import Job


def add_executor_arguments(parser: argparse.ArgumentParser, *, takes_threads: bool = True) -> None:
    """Add the arguments that choose threads or a scheduler.

    Args:
        parser: of the subcommand.
        takes_threads: whether the number of cases at a time in this process can be chosen.
    """
    who = parser.add_mutually_exclusive_group()
    if takes_threads:
        who.add_argument("-np", dest="n_threads", type=int, metavar="N", help="cases at a time (default: all cores)")
    who.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="have the workers of a Dask scheduler do it, tcp://HOST:8786, or local:N to start N processes here; see "
        "docs/how_to/cluster.md",
    )


def with_absolute_paths(options: argparse.Namespace) -> argparse.Namespace:
    """Return options that mean the same in the working folder of any worker."""
    return argparse.Namespace(**{name: _absolute(value) for name, value in vars(options).items()})


def _absolute(value: Any) -> Any:  # noqa: ANN401 (whatever argparse makes)
    if isinstance(value, list):
        return [_absolute(entry) for entry in value]
    return value.absolute() if isinstance(value, Path) else value


@contextmanager
def chosen_executor(
    options: argparse.Namespace, reads: Iterable[Path], writes: Iterable[Path] = ()
) -> Iterator[Executor | None]:
    """Yield the executor that was chosen; None where none was: then the function called uses its own threads.

    Args:
        options: of the subcommand.
        reads: files and folders that every worker must see.
        writes: folders in which every worker must be able to write, or those above them.

    Raises:
        InputError: fewer than one thread, no such scheduler, or workers that cannot do the work.
    """
    if options.scheduler:
        with connected_or_refused(options, reads, writes) as executor:
            yield executor
    elif getattr(options, "n_threads", None) is not None:
        from nnunet_resunet_ds.base.parallel import threads

        with threads(options.n_threads) as executor:
            yield executor
    else:
        yield None


def connected_or_refused(
    options: argparse.Namespace,
    reads: Iterable[Path],
    writes: Iterable[Path],
    resources: Mapping[str, float] | None = None,
) -> AbstractContextManager[Executor]:
    """Return `nnunet_resunet_ds.cluster.connected` for the scheduler that was given.

    Raises:
        InputError: Dask is not installed.
    """
    try:
        from nnunet_resunet_ds.cluster import connected
    except ModuleNotFoundError as error:
        msg = "--scheduler needs Dask, which is not installed: pip install 'nnunet-resunet-ds[cluster]'"
        raise InputError(msg) from error
    return connected(options.scheduler, reads=reads, writes=writes, resources=resources, verbose=options.verbose)


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that choose where jobs run."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="train on the workers of a Dask scheduler, tcp://HOST:8786, that offer --resources GPU=1; see "
        "docs/how_to/cluster.md",
    )
    where.add_argument(
        "--slurm",
        type=Path,
        metavar="FILE",
        help="write a SLURM array script, NAME.sbatch, to submit",
    )


def job_variables(device: str) -> dict[str, str]:
    """Return the environment variables that every job needs."""
    from nnunet_resunet_ds.cluster.jobs import settings_for

    folders = {variable: str(nnunet_folder(variable).absolute()) for variable in NNUNET_FOLDERS}
    return {**folders, **settings_for(device)}


def run_on_workers(
    options: argparse.Namespace, jobs: "Sequence[Job]", device: str, n_gpus: int = 1
) -> Mapping[str, str]:
    """Run jobs on the workers of the scheduler; return what went wrong, by the name of the job."""
    from nnunet_resunet_ds.cluster.jobs import epoch_bar
    from nnunet_resunet_ds.cluster.runners import run_jobs

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
    """Write the array script and print how to submit it."""
    from nnunet_resunet_ds.base.files import check_output_file, write_text
    from nnunet_resunet_ds.cluster.runners import array_script

    check_output_file(options.slurm, ".sbatch")
    if not jobs:
        print("every run is finished: there is nothing to submit")
        return
    needed = n_gpus if device == "cuda" else 0
    script = array_script(name, jobs, job_variables(device), options.slurm, n_gpus=needed)
    write_text(script, options.slurm)
    print(f"wrote {options.slurm}: {len(jobs)} jobs on {device}; submit them with: sbatch {options.slurm}")
