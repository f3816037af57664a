"""As much of SLURM as an array script meets: sbatch, squeue and scontrol, on this machine, one task after the other."""

import os
import re
import signal
import subprocess
import time

_SQUEUE = '#!/bin/sh\necho "$STATE"\n'
_SCONTROL = '#!/bin/sh\n[ "$1" = requeue ] && echo "$2" >> "$REQUEUED"\n'
_MOST_RUNS = 5


class Slurm:
    """Runs array scripts.

    Args:
        folder: for the commands.
    """

    def __init__(self, folder):
        self._requeued = folder / "requeued"
        self._bin = folder / "slurm_bin"
        self._bin.mkdir()
        for name, text in (("squeue", _SQUEUE), ("scontrol", _SCONTROL)):
            (self._bin / name).write_text(text)
            (self._bin / name).chmod(0o755)

    def sbatch(self, script, environment, stop=lambda task: False, state="RUNNING"):
        """Run every task of an array to its end; return task → exit codes, one a run.

        Args:
            script: the file.
            environment: of the one who submits.
            stop: asked again and again while a task runs, whether its time is up.
            state: that squeue says it has then; another where it was cancelled.
        """
        first, last = map(int, re.search(r"^#SBATCH --array=(\d+)-(\d+)$", script.read_text(), re.MULTILINE).groups())
        return {task: list(self._runs(script, environment, task, stop, state)) for task in range(first, last + 1)}

    def _runs(self, script, environment, task, stop, state):
        for _ in range(_MOST_RUNS):
            self._requeued.unlink(missing_ok=True)
            yield self._run(script, environment, task, stop, state)
            if not self._requeued.exists():
                return
            assert self._requeued.read_text() == f"77_{task}\n"

    def _run(self, script, environment, task, stop, state):
        variables = {
            "SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": str(task), "STATE": state,
            "REQUEUED": str(self._requeued),
            "PATH": f"{self._bin}{os.pathsep}{environment['PATH']}",
        }  # fmt: skip
        with script.with_name(f"slurm-77_{task}.out").open("ab") as output:
            process = subprocess.Popen(
                ["bash", script], env={**environment, **variables}, stdout=output, stderr=output, start_new_session=True
            )
            while process.poll() is None:
                if stop(task):
                    process.send_signal(signal.SIGTERM)  # the script alone, as --signal=B:TERM has it
                    return process.wait(120)
                time.sleep(0.05)
        return process.returncode
