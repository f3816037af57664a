"""Provide the one logger of all our packages: silent when used from Python, shown on the command line.

Levels: ``warning`` for what the user should act on, ``info`` for decisions and progress, ``debug`` for what was done to
each case, shown with ``-v``.
"""

import logging
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

LOG = logging.getLogger("nnunet_resunet_ds")
LOG.addHandler(logging.NullHandler())


def warn_each(lines: Iterable[str]) -> None:
    """Log each line as a warning."""
    for line in lines:
        LOG.warning("%s", line)


@contextmanager
def shown(*, verbose: bool) -> Iterator[None]:
    """Show what is logged until the block ends, on standard error and clear of progress bars; each warning once.

    Args:
        verbose: what was done to each case, too, with the time; and what other packages warn developers of.
    """
    handler = _Terminal()
    handler.addFilter(_Once())
    if verbose:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    before = LOG.level
    LOG.addHandler(handler)
    LOG.setLevel(logging.DEBUG if verbose else logging.INFO)
    try:
        with warnings.catch_warnings():
            if not verbose:
                for category in (FutureWarning, DeprecationWarning):
                    warnings.simplefilter("ignore", category)
            yield
    finally:
        LOG.removeHandler(handler)
        LOG.setLevel(before)


class _Terminal(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        says_so = record.levelno >= logging.WARNING and self.formatter is None
        tqdm.write(f"{record.levelname.lower()}: {line}" if says_so else line, file=sys.stderr)


class _Once(logging.Filter):
    """Pass a warning of the same words once."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        line = record.getMessage()
        is_new = line not in self._seen
        self._seen.add(line)
        return is_new
