"""End a long run under SIGTERM whatever it waits for: note the signal, then abort the wait, at last end the process.

Batch systems send SIGTERM to a process and all that it has started, and kill what is left after some time. What the
run waits for may then never come: a process that should have answered is dead.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from nnunet_resunet_ds.base.processes import adopt_orphans

ABORT_AFTER = 10.0
"""Seconds from SIGTERM for what is being done to come to its end; then it is aborted."""
LAST_RESORT_AFTER = 20.0
"""Seconds from SIGTERM; the main thread may be in C code, which cannot be aborted."""
SECONDS_TO_SAVE = 60.0
"""From SIGTERM, where saving has begun: a slow disk is no reason to lose what is nearly written."""
_SECONDS_BETWEEN_ABORTS = 1.0

Handlers = dict[signal.Signals, Any]
"""What handles each signal, as `signal.getsignal` returns it."""

_IN_FORCE: list[Handlers] = []
"""The handlers that `terminable` has put aside, by signal, of each block that has begun and not ended."""
_MASKS: list[set[Any]] = []
"""Signals that were blocked before a fork that has begun and not ended."""


class Aborted(BaseException):
    """SIGTERM came `ABORT_AFTER` seconds ago, and what was being done then has not come to its end.

    It is no `Exception`, so that no library on the way takes it for a failure of its own and goes on.
    """


class Termination:
    """What is known of SIGTERM, and what may be aborted because of it.

    Args:
        last_resort: called in another thread where nothing else has ended the process; it must end it.
    """

    def __init__(self, last_resort: Callable[[], object] = lambda: None) -> None:
        self._last_resort = last_resort
        self._came_at: float | None = None
        self._may_abort = False
        self._is_saving = False
        self._is_over = threading.Event()

    def has_come(self) -> bool:
        """Tell whether SIGTERM has come."""
        return self._came_at is not None

    @contextmanager
    def abortable(self) -> Iterator[None]:
        """Let `Aborted` be raised in the block, where SIGTERM has come and the block does not come to its end."""
        self._may_abort = True
        try:
            yield
        finally:
            self._may_abort = False

    def saving(self) -> None:
        """Say that only saving is left to do, which is not aborted and has more time."""
        self._may_abort, self._is_saving = False, True

    def note(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal: the first one is noted, and a late one aborts.

        Raises:
            Aborted: the time is over.
        """
        if self._came_at is None:
            self._came_at = time.monotonic()
        elif self._may_abort and time.monotonic() - self._came_at >= ABORT_AFTER:
            raise Aborted

    def watch(self, signals: tuple[int, ...], pipe: int, main_thread: int) -> None:
        """Wait for a signal, then see to it that the process ends; run in a thread of its own.

        Args:
            signals: their numbers.
            pipe: where C code writes the number of each signal that comes, even if the main thread is in C code itself.
            main_thread: which handles signals.
        """
        while not self._is_over.is_set() and not set(signals) & set(os.read(pipe, 64)):
            pass
        came = time.monotonic()
        while not self._is_over.wait(_SECONDS_BETWEEN_ABORTS):
            waited = time.monotonic() - came
            if waited >= (SECONDS_TO_SAVE if self._is_saving else LAST_RESORT_AFTER):
                self._last_resort()
            if waited >= ABORT_AFTER:
                signal.pthread_kill(main_thread, signals[0])  # interrupts a wait, and is handled by `note`

    def over(self) -> None:
        """Say that the run has ended."""
        self._is_over.set()


@contextmanager
def terminable(last_resort: Callable[[], object], *, also_interrupts: bool = False) -> Iterator[Termination]:
    """Catch SIGTERM until the block ends; what is yielded knows whether it has come, and what it does then.

    Processes that are forked in the block handle signals as before it. Only the main thread can take signals: elsewhere
    none ever comes.

    Args:
        last_resort: see `Termination`.
        also_interrupts: take SIGINT for the same. PyTorch lets each rank get it when the process that started the ranks
            dies, as that does under SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Termination()
        return
    termination = Termination(last_resort)
    signals = (signal.SIGTERM, signal.SIGINT) if also_interrupts else (signal.SIGTERM,)
    previous = {number: signal.signal(number, termination.note) for number in signals}
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    previous_pipe = signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    watching = (signals, readable, threading.get_ident())
    thread = threading.Thread(target=termination.watch, args=watching, name="SIGTERM", daemon=True)
    thread.start()
    _IN_FORCE.append(previous)
    adopt_orphans(adopt=True)
    try:
        yield termination
    finally:
        adopt_orphans(adopt=False)
        _IN_FORCE.remove(previous)
        termination.over()
        os.write(writable, bytes([signals[0]]))  # wakes the thread, which must send no signal from here on
        thread.join()
        signal.set_wakeup_fd(previous_pipe)
        _set_handlers(previous)
        os.close(readable)
        os.close(writable)


def _block_signals() -> None:
    """Let no signal come between a fork and the moment when its process has handlers of its own."""
    if _IN_FORCE:
        _MASKS.append(signal.pthread_sigmask(signal.SIG_BLOCK, _IN_FORCE[0]))


def _unblock_signals() -> None:
    if _MASKS:
        signal.pthread_sigmask(signal.SIG_SETMASK, _MASKS.pop())


def _handle_as_before() -> None:
    """Give a forked process the handlers that there were: it is not what the signal is noted for."""
    if _IN_FORCE:
        signal.set_wakeup_fd(-1)
        _set_handlers(_IN_FORCE[0])
        _IN_FORCE.clear()
    _unblock_signals()


def _set_handlers(handlers: Handlers) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler or signal.SIG_DFL)  # None: it was set by C code, and cannot be set again


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_block_signals, after_in_parent=_unblock_signals, after_in_child=_handle_as_before)
