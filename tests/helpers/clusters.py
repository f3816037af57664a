"""A Dask scheduler and workers, each a process of its own, as a user starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
DASK = str(Path(sys.executable).with_name("dask"))
SECONDS = 60
"""For a process to answer."""


class Cluster:
    """Processes of one scheduler.

    Args:
        folder: for logs and the scheduler's address.
        prefixes: words before the commands, of ``scheduler`` and of each worker: another namespace, say.
        host: where the scheduler listens.
    """

    def __init__(self, folder, host="127.0.0.1", prefix=()):
        self.folder, self.workers = folder, []
        file = folder / "scheduler.json"
        self.scheduler = self._start(
            "scheduler",
            prefix,
            ["scheduler", "--host", host, "--port", "0", "--no-dashboard", "--scheduler-file", file],
        )
        until(lambda: file.is_file() and file.read_text())
        self.address = json.loads(file.read_text())["address"]

    def add_worker(self, *flags, prefix=(), **variables):
        name = f"worker{len(self.workers)}"
        words = ["worker", self.address, "--nthreads", "1", "--no-dashboard", "--name", name, *flags]
        self.workers.append(self._start(name, prefix, words, **variables))
        return self.workers[-1]

    def _start(self, name, prefix, words, **variables):
        log = (self.folder / f"{name}.log").open("wb")
        path = os.pathsep.join(filter(None, [variables.pop("PYTHONPATH", ""), str(HERE), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, **variables, "PYTHONPATH": path}
        command = [*prefix, DASK, *map(str, words), "--local-directory", str(self.folder)]
        if words[0] == "scheduler":
            command = command[:-2]
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def kill_scheduler(self):
        os.killpg(self.scheduler.pid, signal.SIGKILL)

    def close(self):
        for process in (*self.workers, self.scheduler):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until(is_so, seconds=SECONDS):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
