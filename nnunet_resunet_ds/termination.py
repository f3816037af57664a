"""SIGTERM, as batch systems send it before they take a machine away, turned into a question."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

TERMINATED = 128 + signal.SIGTERM
"""What a shell reports of a process that SIGTERM ended."""


@contextmanager
def sigterm_noted(*, also_interrupts: bool = False) -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether SIGTERM has come; until the block ends it does nothing else.

    Only the main thread can take signals: elsewhere the function always says no.

    Args:
        also_interrupts: take SIGINT for the same. PyTorch lets each rank get it when the process that started the ranks
            dies, as that does under SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came = False

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal came
        came = True

    signals = (signal.SIGTERM, signal.SIGINT) if also_interrupts else (signal.SIGTERM,)
    previous = {number: signal.signal(number, note) for number in signals}
    try:
        yield lambda: came
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
