"""Find and end the processes that a process has started, and those that these have started (Linux: all of them)."""

import multiprocessing
import os
import signal
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

SECONDS_TO_END = 1.0
"""For a process that gets SIGTERM; then it is killed."""
_SECONDS_BETWEEN_LOOKS = 0.02
_PROCESSES = Path("/proc")
_ZOMBIE = "Z"
_RESOURCE_TRACKER = b"multiprocessing.resource_tracker"
"""Removes what other processes leave in shared memory, and ends by itself when they are gone."""


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started and that still run, and those that these have started.

    A process whose starter has ended is no longer known to be one of them. Where there is no ``/proc``, these are the
    processes of `multiprocessing`, and of this process only.
    """
    if not (_PROCESSES / "self" / "stat").exists():
        return [child.pid for child in multiprocessing.active_children() if child.pid is not None]
    children = defaultdict(list)
    for other, parent in _running():
        children[parent].append(other)
    found = [pid]
    for known in found:  # grows while it is gone through
        found += children[known]
    return found[1:]


def end_descendants() -> None:
    """End every process that this one has started: tell it to, and after a second kill it."""
    left = [pid for pid in descendants(os.getpid()) if _RESOURCE_TRACKER not in _command(pid)]
    _send(left, signal.SIGTERM)
    end = time.monotonic() + SECONDS_TO_END
    while time.monotonic() < end and any(_stat(pid) not in (None, _ZOMBIE) for pid in left):
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    _send(left, signal.SIGKILL)


def _running() -> Iterable[tuple[int, int]]:
    """Yield each process that runs, and which one has started it."""
    for entry in _PROCESSES.iterdir():
        fields = _fields(int(entry.name)) if entry.name.isdigit() else None
        if fields is not None and fields[0] != _ZOMBIE:
            yield int(entry.name), int(fields[1])


def _stat(pid: int) -> str | None:
    """Return the letter of what a process does; None where it is gone."""
    fields = _fields(pid)
    return None if fields is None else fields[0]


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
