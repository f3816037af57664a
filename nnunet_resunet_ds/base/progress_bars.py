"""Draw progress bars: many times a second on a screen, and a line now and then where standard error is a file."""

import sys
from collections.abc import Iterable

from tqdm import tqdm

SECONDS_IN_A_FILE = 30.0
"""Between two times that a bar is drawn."""


def bar_interval(on_a_screen: float = 0.1) -> float:
    """Return the seconds between two times that a bar is drawn."""
    return on_a_screen if sys.stderr.isatty() else SECONDS_IN_A_FILE


def passing_bar(numbers: range, title: str, unit: str, *, hidden: bool = False) -> Iterable[int]:
    """Go through numbers under a bar that is gone afterwards; in a file, one that is short-lived does not appear."""
    intervals = {"mininterval": bar_interval(), "delay": bar_interval(0)}
    bar: Iterable[int] = tqdm(numbers, title, unit=unit, leave=False, disable=hidden, **intervals)
    return bar
