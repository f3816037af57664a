"""Commands in processes of their own at a hundredth of the start-up time: forked from one that has imported everything.

The process that forks has computed nothing, so that no thread of OpenMP's is missing in its children.
"""

import json
import subprocess
import sys
from typing import NamedTuple

_FORKING = """
import json, os, signal, sys
import numpy, SimpleITK, torch
import nnunet_resunet_ds.inference.pipeline, nnunet_resunet_ds.report, nnunet_resunet_ds.evaluation.cohort_metrics
import nnunet_resunet_ds.cli, dataset_conversion, nnunet_resunet_ds.tuning.tune_model
for line in sys.stdin:
    task = json.loads(line)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # also where tests run in the background of a shell
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(task[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ.clear()
        os.environ.update(task["environment"])
        os.chdir(task["cwd"])
        sys.argv = ["-c", *task["words"]]
        code = 1
        try:
            exec(task["code"], {"__name__": "__main__"})
            code = 0
        except SystemExit as exit_:
            code = exit_.code or 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Done(NamedTuple):
    """As of subprocess.run."""

    returncode: int
    stdout: str
    stderr: str


class Forks:
    """Runs code in a forked child and waits for it."""

    def __init__(self, folder) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-c", _FORKING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, code, words, *, cwd, environment) -> Done:
        """Run code with sys.argv[1:] of the words."""
        files = {name: str(self._folder / name) for name in ("out", "err")}
        task = {"code": code, "words": words, "cwd": str(cwd), "environment": dict(environment), **files}
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        returncode = int(self._process.stdout.readline())
        return Done(returncode, *((self._folder / name).read_text() for name in ("out", "err")))

    def close(self) -> None:
        """End the process that forks."""
        self._process.stdin.close()
        self._process.wait()
