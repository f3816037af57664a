"""Distribute the work on many cases to threads, or to any executor, such as that of a cluster."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from queue import SimpleQueue
from typing import TypeVar

from tqdm import tqdm

from nnunet_resunet_ds.base.errors import InputError, WorkerDiedError
from nnunet_resunet_ds.base.setting_checks import check_whole_number

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_SUBMITTED = 1000
"""Cases handed out at a time: enough for a large cluster, and few for its scheduler to keep in mind."""


def threads(n_threads: int | None = None) -> ThreadPoolExecutor:
    """Return the local executor: reading, unpacking and writing images leave Python's lock alone.

    Args:
        n_threads: cases at a time; None is the number of cores.

    Raises:
        InputError: fewer than one.
    """
    if n_threads is not None:
        check_whole_number("the number of cases at a time", n_threads, at_least=1)
    return ThreadPoolExecutor(n_threads or os.cpu_count())


def at_hand(executor: Executor | None) -> AbstractContextManager[Executor]:
    """Return a context in which there is an executor: the given one, which stays, or threads that end with it."""
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

    A case that cannot be done does not stop the others: its InputError takes the place of its result. One whose worker
    died is tried once more, alone, since another case may have been to blame, and then counts as one. Any other error
    is raised, and what has not begun is left. However this ends, threads are at rest; processes elsewhere finish the
    cases that they have.

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
    done: SimpleQueue[Future[Result]] = SimpleQueue()
    numbers: dict[Future[Result], int] = {}
    suspects: list[int] = []
    upcoming = iter(range(len(items)))
    with (
        at_hand(executor) as pool,
        _at_rest_at_last(numbers),
        tqdm(total=len(items), desc=description, unit="case") as bar,
    ):

        def take(number: int, outcome: Result | InputError) -> None:
            outcomes[number] = outcome
            settle(items[number], outcome)
            bar.update()

        while len(outcomes) + len(suspects) < len(items):
            while len(numbers) < MAX_SUBMITTED and (number := next(upcoming, None)) is not None:
                future = pool.submit(work, items[number])
                numbers[future] = number
                future.add_done_callback(done.put)
            future = done.get()
            number = numbers.pop(future)
            try:
                outcome = _outcome(future)
            except WorkerDiedError:
                suspects.append(number)
            else:
                take(number, outcome)
        for number in suspects:
            take(number, _outcome_alone(pool, work, items[number], name))
    return [outcomes[number] for number in range(len(items))]


def _outcome(future: Future[Result]) -> Result | InputError:
    """Return the result of a future, or the InputError that took its place."""
    try:
        return future.result()
    except InputError as error:
        return error


def _outcome_alone(
    pool: Executor, work: Callable[[Item], Result], item: Item, name: Callable[[Item], str]
) -> Result | InputError:
    """Do an item while nothing else is done."""
    try:
        return _outcome(pool.submit(work, item))
    except WorkerDiedError as error:
        return InputError(f"{name(item)}: {error}")


@contextmanager
def _at_rest_at_last(futures: Iterable["Future[Result]"]) -> Iterator[None]:
    """Let what has not begun never begin, and wait for what has."""
    try:
        yield
    finally:
        wait([future for future in list(futures) if not future.cancel()])


def results_and_problems(outcomes: Iterable[Result | InputError]) -> tuple[list[Result], list[str]]:
    """Return the results among outcomes of `for_each`, and what is wrong with the others."""
    results, problems = [], []
    for outcome in outcomes:
        if isinstance(outcome, InputError):
            problems.append(str(outcome))
        else:
            results.append(outcome)
    return results, problems
