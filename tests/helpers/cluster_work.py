"""What the tests of clusters have workers do; workers find this module by PYTHONPATH."""

import os
import signal
import time
from pathlib import Path

from nnunet_resunet_ds.base.errors import InputError


def worker_of(item):
    """Return the process that works on an item, slow where the environment says so."""
    time.sleep(float(os.environ.get("SLOW", "0.02")))
    return os.getpid()


def sleep(seconds):
    time.sleep(seconds)
    return seconds


def refuse_odd(number):
    if number % 2:
        msg = f"case {number}: is odd"
        raise InputError(msg)
    return number


def die_once(folder):
    """Kill the worker at the first try, and count the tries."""
    tries = len(list(Path(folder).iterdir()))
    Path(folder, str(tries)).touch()
    if tries == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return tries


def die_at(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)
    return number
