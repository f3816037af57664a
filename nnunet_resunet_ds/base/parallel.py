"""Run work on many cases: in threads here, or on any executor, such as a cluster's."""

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, closing, nullcontext
from itertools import islice
from queue import SimpleQueue
from typing import TypeVar

from tqdm import tqdm

from nnunet_resunet_ds.base.errors import InputError, WorkerDiedError
from nnunet_resunet_ds.base.setting_checks import check_whole_number

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_SUBMITTED = 1000
"""Cases handed out at a time: enough for a large cluster, and few enough for its scheduler."""


def threads(n_threads: int | None = None) -> ThreadPoolExecutor:
    """Return the local executor: reading, unpacking and writing images leave Python's lock alone.

    Args:
        n_threads: cases at a time; None is one for each core that this process may use.

    Raises:
        InputError: fewer than one.
    """
    if n_threads is not None:
        check_whole_number("the number of cases at a time", n_threads, at_least=1)
    return ThreadPoolExecutor(n_threads or n_cores())


def n_cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def executor_or_threads(executor: Executor | None) -> AbstractContextManager[Executor]:
    """Return a context with the given executor, which stays, or with threads that end with the context."""
    return nullcontext(executor) if executor else threads()


def for_each(
    items: Sequence[Item],
    work: Callable[[Item], Result],
    description: str,
    executor: Executor | None = None,
    *,
    name: Callable[[Item], str] = str,
    settle: Callable[[Item, Result | InputError], object] = lambda *_: None,
) -> list[Result | InputError]:
    """Run ``work`` on every item, with a progress bar; return results in the order of the items.

    A case that cannot be done does not stop the others: its InputError takes the place of its result. If a worker dies,
    its case is tried once more, alone, because another case may have killed the worker; if it dies again, that is an
    InputError as well. Any other error is raised, and cases that have not begun are left. However this ends, no thread
    works on; processes elsewhere finish the cases that they have.

    Args:
        items: cases, say.
        work: of one item; where the executor has other processes, picklable as the items and results are.
        description: before the progress bar.
        executor: who works; None is a thread for each core.
        name: of an item, for messages.
        settle: called in this thread with each item and its outcome, as soon as that is there.
    """
    if not items:
        return []
    outcomes: dict[int, Result | InputError] = {}
    suspects: list[int] = []
    with (
        executor_or_threads(executor) as pool,
        closing(_as_completed(pool, work, items)) as completed,
        tqdm(total=len(items), desc=description, unit="case") as bar,
    ):

        def take(number: int, outcome: Result | InputError) -> None:
            outcomes[number] = outcome
            settle(items[number], outcome)
            bar.update()

        for number, future in completed:
            try:
                outcome = _outcome(future)
            except WorkerDiedError:
                suspects.append(number)
            else:
                take(number, outcome)
        for number in suspects:
            take(number, _outcome_alone(pool, work, items[number], name))
    return [outcomes[number] for number in range(len(items))]


def _as_completed(
    pool: Executor, work: Callable[[Item], Result], items: Sequence[Item]
) -> Generator[tuple[int, "Future[Result]"]]:
    """Yield the number and future of each item as it is done, with at most `MAX_SUBMITTED` handed out at a time.

    When closed early, what has not begun never begins, and what has is waited for.
    """
    done: SimpleQueue[Future[Result]] = SimpleQueue()
    numbers: dict[Future[Result], int] = {}
    upcoming = iter(range(len(items)))
    try:
        for _ in items:
            for number in islice(upcoming, MAX_SUBMITTED - len(numbers)):
                future = pool.submit(work, items[number])
                numbers[future] = number
                future.add_done_callback(done.put)
            future = done.get()
            yield numbers.pop(future), future
    finally:
        wait([future for future in numbers if not future.cancel()])


def _outcome(future: Future[Result]) -> Result | InputError:
    """Return the result of a future, or the InputError that took its place."""
    try:
        return future.result()
    except InputError as error:
        return InputError(*error.args)  # its traceback would keep the arrays of the case in memory


def _outcome_alone(
    pool: Executor, work: Callable[[Item], Result], item: Item, name: Callable[[Item], str]
) -> Result | InputError:
    """Try an item again while nothing else runs."""
    try:
        return _outcome(pool.submit(work, item))
    except WorkerDiedError as error:
        return InputError(f"{name(item)}: {error}")


def results_and_problems(outcomes: Iterable[Result | InputError]) -> tuple[list[Result], list[str]]:
    """Return the results among outcomes of `for_each`, and what is wrong with the others."""
    results, problems = [], []
    for outcome in outcomes:
        if isinstance(outcome, InputError):
            problems.append(str(outcome))
        else:
            results.append(outcome)
    return results, problems
