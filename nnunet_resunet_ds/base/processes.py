"""Find and end the processes that a process has started, and those that these have started (Linux: all of them)."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

SECONDS_TO_END = 1.0
"""For a process that gets SIGTERM; then it is killed."""
_SECONDS_BETWEEN_LOOKS = 0.02
_MAX_KILLS = 3
"""Rounds: one that is killed may just have started another."""
_PROCESSES = Path("/proc")
_ZOMBIE = "Z"
_PR_SET_CHILD_SUBREAPER = 36
"""Of prctl(2)."""
_RESOURCE_TRACKER = b"multiprocessing.resource_tracker"
"""Removes what other processes leave in shared memory, and ends by itself when they are gone."""


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started and that still run, and those that these have started.

    A process whose starter has ended is one of them only after `adopt_orphans`. Where there is no ``/proc``, these are
    the processes of `multiprocessing`, and of this process only.
    """
    if not (_PROCESSES / "self" / "stat").exists():
        return [child.pid for child in multiprocessing.active_children() if child.pid is not None]
    children = defaultdict(list)
    for other, parent, _ in _running():
        children[parent].append(other)
    found = [pid]
    for known in found:  # grows while it is gone through
        found += children[known]
    return found[1:]


def group_runs(leader: int) -> bool:
    """Tell whether a process of a group runs, its leader or one that was started in it (POSIX)."""
    if not (_PROCESSES / "self" / "stat").exists():
        with suppress(ProcessLookupError):
            os.killpg(leader, 0)
            return True
        return False
    return any(group == leader for _, _, group in _running())


def adopt_orphans(*, adopt: bool) -> None:
    """Let processes whose starter ends be taken for started by this one, which started that one; or no longer (Linux).

    A compiler that is called by a helper outlives it otherwise, with no one who knows of it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


def end_descendants() -> None:
    """End every process that this one has started: tell it to, and after a second kill it.

    This process can start no other from here on: threads that go on, such as those of a compiler, would.
    """
    subprocess.Popen._execute_child = _refuse  # type: ignore[attr-defined]
    _send(_left(), signal.SIGTERM)
    end = time.monotonic() + SECONDS_TO_END
    while _left() and time.monotonic() < end:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    for _ in range(_MAX_KILLS):
        _send(_left(), signal.SIGKILL)
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _refuse(*_: object) -> None:
    msg = "this process is about to end"
    raise OSError(msg)


def _left() -> list[int]:
    return [pid for pid in descendants(os.getpid()) if _RESOURCE_TRACKER not in _command(pid)]


def _running() -> Iterable[tuple[int, int, int]]:
    """Yield each process that runs, which one has started it, and the leader of its group."""
    for entry in _PROCESSES.iterdir():
        fields = _fields(int(entry.name)) if entry.name.isdigit() else None
        if fields is not None and fields[0] != _ZOMBIE:
            yield int(entry.name), int(fields[1]), int(fields[2])


def _fields(pid: int) -> list[str] | None:
    """Return the fields of ``/proc/PID/stat`` after the name, which may hold anything; None where it is gone."""
    try:
        return (_PROCESSES / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _command(pid: int) -> bytes:
    try:
        return (_PROCESSES / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


def _send(pids: Iterable[int], signum: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signum)
