"""Mapping over cases in threads: reading, unpacking and writing images leave Python's lock alone."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def for_each(
    items: Sequence[Item], work: Callable[[Item], Result], description: str, n_threads: int | None = None
) -> list[Result]:
    """Run ``work`` on every item, with a progress bar; return results in order, with all threads at rest.

    Args:
        items: cases, say.
        work: of one item.
        description: before the progress bar.
        n_threads: at a time; None is the number of cores.
    """
    pool = ThreadPoolExecutor(n_threads or os.cpu_count())
    try:
        return list(tqdm(pool.map(work, items), desc=description, unit="case", total=len(items)))
    finally:
        pool.shutdown(cancel_futures=True)
