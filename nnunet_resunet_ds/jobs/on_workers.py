"""Jobs on the workers of a cluster, each with a GPU to itself."""

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path

from nnunet_resunet_ds.base.errors import InputError, WorkerDiedError
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.jobs import bound
from nnunet_resunet_ds.jobs.job import Job
from nnunet_resunet_ds.jobs.process import SECONDS_TO_SAVE, CommandError, log_of, run_command

SECONDS_BETWEEN_LOOKS = 2.0


def run_jobs(
    jobs: Sequence[Job], executor: Executor, variables: Mapping[str, str], look: Callable[[], object]
) -> dict[str, str]:
    """Run all jobs; one that fails does not stop the others.

    Args:
        jobs: each to be run by one worker.
        executor: of the workers.
        variables: of the environment, on top of the workers' own.
        look: called every few seconds meanwhile.

    Returns:
        What went wrong, by the name of the job.
    """
    failures: dict[str, str] = {}
    running: dict[Future[None], Job] = {
        executor.submit(run_in_worker, job.command, job.folder, dict(variables)): job for job in jobs
    }
    while running:
        done, _ = wait(running, timeout=SECONDS_BETWEEN_LOOKS, return_when=FIRST_COMPLETED)
        look()
        for future in done:
            job = running.pop(future)
            try:
                future.result()
            except (InputError, WorkerDiedError, OSError) as error:
                failures[job.name] = str(error)
                LOG.error("failed: %s: %s", job.name, error)
            else:
                LOG.info("done: %s", job.name)
    return failures


def run_in_worker(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> None:
    """Run a command in this worker, and have it end where the worker is killed; what it prints goes to ``log.txt``.

    Raises:
        InputError: it failed, or another process is still at work on it.
    """
    # One that was told to stop as its worker died may still be saving.
    with log_of(folder, patience=1.5 * SECONDS_TO_SAVE) as log:
        try:
            run_command(command, variables, log, launcher=[sys.executable, "-m", bound.__name__])
        except CommandError as error:
            raise InputError(str(error)) from None
