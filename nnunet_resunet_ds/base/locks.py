"""Let one process at a time write an output: two would undo each other's work."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnunet_resunet_ds.base.errors import InputError

_SECONDS_BETWEEN_TRIES = 0.2
_HELD: set[int] = set()
"""Descriptors of the folders that `only_writer` has locked."""


@contextmanager
def only_writer(folder: Path, output: Path | None = None) -> Iterator[None]:
    """Lock a folder for this process until the block ends.

    The folder itself is locked: that ends with the process, however it ends, and leaves no file behind. A process that
    is forked in the block does not keep it. Some network file systems do not lock folders; then nothing guards against
    a second process.

    Args:
        folder: that is there.
        output: what the message names; None is the folder.

    Raises:
        InputError: another process has it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if not try_lock(descriptor):
            msg = f"{output or folder}: another process is writing this; wait for it, or stop it first"
            raise InputError(msg)
        _HELD.add(descriptor)
        yield
    finally:
        _HELD.discard(descriptor)
        os.close(descriptor)


def _leave_to_parent() -> None:
    for descriptor in _HELD:
        os.close(descriptor)
    _HELD.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


@contextmanager
def in_turn(folder: Path, seconds: float) -> Iterator[None]:
    """Lock a folder for this process until the block ends; wait while another has it.

    Args:
        folder: that is there; it is locked as in `only_writer`.
        seconds: to wait at most; then the block runs all the same.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    end = time.monotonic() + seconds
    try:
        while not try_lock(descriptor) and time.monotonic() < end:
            time.sleep(_SECONDS_BETWEEN_TRIES)
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock an open file or folder; return False where another process has it.

    Children inherit the lock with the descriptor, so that it outlives this process where they do. What cannot be
    locked, as on some network file systems, counts as ours.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
