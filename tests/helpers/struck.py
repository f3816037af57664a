"""Work in a process group of its own that gets SIGTERM while it waits, as batch systems send it."""

import atexit
import os
import signal
import sys
import time
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from nnunet_resunet_ds.base import termination

SECONDS = 30.0
"""From SIGTERM, within which a training has to have ended."""
LONG = 1000
"""Of a wait that never ends."""


class Ended(NamedTuple):
    """What came of it: exit code, what it printed, and processes of the group that still run."""

    code: int
    printed: str
    left: list[int]


@contextmanager
def quick_ending(monkeypatch):
    """A tenth of the times."""
    monkeypatch.setattr(termination, "ABORT_AFTER", 1.0)
    monkeypatch.setattr(termination, "LAST_RESORT_AFTER", 2.0)
    monkeypatch.setattr(termination, "_SECONDS_BETWEEN_ABORTS", 0.1)
    yield


def struck(work, folder: Path, program="nnUNetv2_train") -> Ended:
    """Fork and call the work with a function that it calls before it waits; send SIGTERM to the group then."""
    ready = folder / "ready"
    ready.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        _child(work, ready, folder / "printed.txt", program)
    _await(ready.exists, pid)
    os.killpg(pid, signal.SIGTERM)
    code = _await(lambda: _ended(pid), pid)
    left = members(pid)
    for other in left:
        os.kill(other, signal.SIGKILL)
    return Ended(code, (folder / "printed.txt").read_text(), left)


def _child(work, ready, printed, program):
    os.setsid()
    atexit._clear()  # of the tests' own process; blosc2 would wait for threads that a fork leaves behind
    for number in (1, 2):
        os.dup2(os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    sys.argv = [program]
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    code = 99
    try:
        work(ready.touch)
        code = 0
    except SystemExit as exit_:
        code = exit_.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _ended(pid):
    """The exit code, once it has one: as a pair, for 0 is one."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return (os.waitstatus_to_exitcode(status),) if found else None


def _await(come, pid):
    end = time.monotonic() + SECONDS
    while not (result := come()):
        if time.monotonic() > end:
            os.killpg(pid, signal.SIGKILL)
            raise AssertionError("nothing came within 30 s")
        time.sleep(0.02)
    return result[0] if isinstance(result, tuple) else result


def members(session: int) -> list[int]:
    """Processes of a session that run: the field after group in /proc/PID/stat."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found
