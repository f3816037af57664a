"""Run jobs: one after the other here, on the workers of a cluster, or as a SLURM array."""

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path
from typing import TypeVar

from nnunet_resunet_ds.base.errors import InputError, WorkerDiedError
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.signals import TERMINATED
from nnunet_resunet_ds.cluster import dies_with_parent
from nnunet_resunet_ds.cluster.jobs import (
    SECONDS_BETWEEN_LOOKS,
    SECONDS_TO_SAVE,
    CommandError,
    Job,
    Trained,
    epoch_bar,
    log_of,
    run_command,
    settings_for,
    shell_line,
)

SECONDS_BEFORE_THE_END = 300
"""A job gets SIGTERM so long before its time is up; a training then saves in the middle of an epoch."""
_CORES = 12
"""For each GPU: as many as nnU-Net's augmentation uses by itself."""

_SCRIPT = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
{needs}
#SBATCH --requeue
#SBATCH --signal=B:TERM@{seconds}
#SBATCH --open-mode=append
#SBATCH --output=%x-%A_%a.out

# What else your cluster needs (account, partition, time) can stand here, or before the name of this file:
#   sbatch --partition=gpu --time=2-00:00:00 {file}
# Stopped jobs go on where they were: when preempted, when their time is up, and when this is submitted again.

{variables}

case "$SLURM_ARRAY_TASK_ID" in
{cases}
esac

# Without srun: it would end at SIGTERM, and what it runs with it, before anything is saved.
"${{command[@]}}" &
job=$!
trap 'kill -TERM "$job" 2>/dev/null' TERM
while wait "$job"; code=$?; kill -0 "$job" 2>/dev/null; do :; done

task="${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
# Stopped and saved, and not cancelled: its time was up.
if [ "$code" -eq {stopped} ] && [ "$(squeue --noheader --jobs="$task" --format=%T)" = RUNNING ]; then
    scontrol requeue "$task"
fi
exit "$code"
"""

Training = TypeVar("Training", bound=Trained)


def run_each(trainings: Sequence[Training], run: Callable[[Training, Callable[[], object]], object]) -> dict[str, str]:
    """Run one training after the other, with a progress bar; one that fails does not stop the others.

    Args:
        trainings: in this order.
        run: runs one, and calls its second argument every few seconds meanwhile.

    Returns:
        What went wrong, by the name of the training.
    """
    failures = {}
    with epoch_bar(trainings) as bar:
        for number, training in enumerate(trainings, start=1):
            bar.say(f"{number}/{len(trainings)} {training.name}")
            try:
                run(training, bar.look)
            except (CommandError, InputError) as error:
                failures[training.name] = str(error)
                LOG.error("failed: %s: %s", training.name, error)
            bar.look()
    return failures


def run_here(jobs: Sequence[Job], device: str) -> dict[str, str]:
    """Run all jobs with `run_each`.

    Args:
        jobs: in this order.
        device: as nnU-Net's ``-device``.
    """
    variables = settings_for(device)

    def run(job: Job, look: Callable[[], object]) -> None:
        LOG.info("$ %s", shell_line(job.command, variables))
        with log_of(job.folder) as log:
            run_command(job.command, variables, log, look)

    return run_each(jobs, run)


def run_jobs(
    jobs: Sequence[Job], executor: Executor, variables: Mapping[str, str], look: Callable[[], object]
) -> dict[str, str]:
    """Run all jobs on workers; one that fails does not stop the others.

    Args:
        jobs: each is run by one worker.
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
    """Run a command in this worker, and end it when the worker is killed; write what it prints to ``log.txt``.

    Raises:
        InputError: it failed, or another process is still at work on it.
    """
    # An earlier run that was told to stop as its worker died may still be saving.
    with log_of(folder, patience=1.5 * SECONDS_TO_SAVE) as log:
        try:
            run_command(command, variables, log, launcher=[sys.executable, "-m", dies_with_parent.__name__])
        except CommandError as error:
            raise InputError(str(error)) from None


def array_script(name: str, jobs: Sequence[Job], variables: Mapping[str, str], file: Path, *, n_gpus: int) -> str:
    """Return a SLURM script that runs each job as a task of an array, and requeues a task whose time is up.

    Args:
        name: of the array, for squeue.
        jobs: one or more.
        variables: environment variables that every job needs.
        file: path of the script, for a comment in it.
        n_gpus: GPUs that each job needs.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}$PATH"
    gpus = [f"--gpus-per-node={n_gpus}"] if n_gpus else []
    needs = ["--nodes=1", "--ntasks=1", f"--cpus-per-task={_CORES * max(1, n_gpus)}", *gpus]
    return _SCRIPT.format(
        name=name,
        last=len(jobs) - 1,
        needs="\n".join(f"#SBATCH {need}" for need in needs),
        seconds=SECONDS_BEFORE_THE_END,
        file=shlex.quote(str(file)),
        variables="\n".join(
            [*(f"export {key}={shlex.quote(value)}" for key, value in variables.items()), f'export PATH="{path}"']
        ),
        cases="\n".join(
            f"{number}) command=({shell_line(job.command, {})}) ;; # {job.name}" for number, job in enumerate(jobs)
        ),
        stopped=TERMINATED,
    )
