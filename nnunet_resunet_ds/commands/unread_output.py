"""Go on where nobody reads what is printed any more, as behind ``| head``: the work is done, and its files written."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout


@contextmanager
def unread_output_ignored() -> Iterator[None]:
    """Let standard output end without an error in this block; in a log, its lines come as they are printed."""
    if not isinstance(sys.stdout, io.TextIOWrapper):  # what a program has put in its place
        yield
        return
    sys.stdout.reconfigure(line_buffering=True)
    with redirect_stdout(_MayEnd(sys.stdout)):
        yield


class _MayEnd(io.TextIOBase):
    """Writes to a stream until its reader has gone."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._end()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._end()

    def _end(self) -> None:
        """Send what is still to come nowhere, what Python flushes at its end among it."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
