"""End tidily after Ctrl-C, and after SIGTERM, which batch systems send before they take a machine away."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
"""Exit codes of a process that Ctrl-C ended, and of one that SIGTERM ended."""


@contextmanager
def second_interrupt_ends() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first Ctrl-C in the block, as always; at the second, end the process on the spot.

    What is being written is then left under its temporary name, which no command takes for a finished file.
    """
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # other code handles interrupts
        return
    came = False

    def interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            os.write(2, b"\nstopped at once\n")
            os._exit(INTERRUPTED)
        came = True
        os.write(2, b"\nstopping when what is being written is whole; Ctrl-C again stops at once\n")
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def sigterm_noted() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether SIGTERM has come; until the block ends it does nothing else.

    Only the main thread can take signals: elsewhere the function always says no. `base.termination` does more, for
    a wait that may never end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came = False

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True

    previous = signal.signal(signal.SIGTERM, note)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGTERM, previous)
