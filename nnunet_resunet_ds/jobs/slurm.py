"""A SLURM array script: one task a job, run again by SLURM when it was preempted or its time was up."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from nnunet_resunet_ds.base.signals import TERMINATED
from nnunet_resunet_ds.jobs.job import Job
from nnunet_resunet_ds.jobs.process import shell_line

SECONDS_TO_SAVE = 300
"""Before its time is up that a job gets SIGTERM; under it a training saves in the middle of an epoch."""
_CORES = 12
"""That nnU-Net's augmentation keeps busy for one GPU, and as many as it uses by itself."""

_SCRIPT = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
{needs}
#SBATCH --requeue
#SBATCH --signal=B:TERM@{seconds}
#SBATCH --open-mode=append
#SBATCH --output=%x-%A_%a.out

# What your cluster needs beside, account, partition and time, can stand here or before the name of this file:
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
# Stopped and saved, and not cancelled by anybody: its time was up.
if [ "$code" -eq {stopped} ] && [ "$(squeue --noheader --jobs="$task" --format=%T)" = RUNNING ]; then
    scontrol requeue "$task"
fi
exit "$code"
"""


def array_script(name: str, jobs: Sequence[Job], variables: Mapping[str, str], file: Path, *, n_gpus: int) -> str:
    """Return the script.

    Args:
        name: of the array, for squeue.
        jobs: one or more.
        variables: of the environment, that jobs need wherever they run.
        file: where the script will be.
        n_gpus: that each needs.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}$PATH"
    gpus = [f"--gpus-per-node={n_gpus}"] if n_gpus else []
    needs = ["--nodes=1", "--ntasks=1", f"--cpus-per-task={_CORES * max(1, n_gpus)}", *gpus]
    return _SCRIPT.format(
        name=name,
        last=len(jobs) - 1,
        needs="\n".join(f"#SBATCH {need}" for need in needs),
        seconds=SECONDS_TO_SAVE,
        file=shlex.quote(str(file)),
        variables="\n".join(
            [*(f"export {key}={shlex.quote(value)}" for key, value in variables.items()), f'export PATH="{path}"']
        ),
        cases="\n".join(
            f"{number}) command=({shell_line(job.command, {})}) ;; # {job.name}" for number, job in enumerate(jobs)
        ),
        stopped=TERMINATED,
    )
