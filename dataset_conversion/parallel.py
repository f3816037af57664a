"""Mapping over cases in threads: reading, unpacking and writing images leave Python's lock alone."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from nnunet_resunet_ds.checks import check_whole_number

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

    Raises:
        InputError: fewer than one at a time.
    """
    if n_threads is not None:
        check_whole_number("the number of cases at a time", n_threads, at_least=1)
    pool = ThreadPoolExecutor(n_threads or os.cpu_count())
    try:
        return list(tqdm(pool.map(work, items), desc=description, unit="case", total=len(items)))
    finally:
        pool.shutdown(cancel_futures=True)
