"""Handing out work on cases: results in order, failures in their places, everything at rest at the end."""

import gc
import threading
import time
import weakref
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest
from cluster_work import refuse_odd
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunet_resunet_ds.base import parallel
from nnunet_resunet_ds.base.errors import InputError, WorkerDiedError
from nnunet_resunet_ds.base.parallel import for_each, results_and_problems, threads


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 100)), st.integers(1, 4))
def test_results_are_in_order_and_refusals_in_their_places(numbers, n_threads):
    settled = []
    with ThreadPoolExecutor(n_threads) as pool:
        outcomes = for_each(numbers, refuse_odd, "test", pool, settle=lambda *pair: settled.append(pair))
    for number, outcome in zip(numbers, outcomes, strict=True):
        assert (str(outcome) == f"case {number}: is odd") if number % 2 else outcome == number
    assert sorted(map(str, settled)) == sorted(map(str, zip(numbers, outcomes, strict=True)))
    results, problems = results_and_problems(outcomes)
    assert results == [number for number in numbers if number % 2 == 0]
    assert problems == [f"case {number}: is odd" for number in numbers if number % 2]


def test_a_fault_is_raised_with_all_threads_at_rest():
    begun, ended = [], []

    def work(number):
        begun.append(number)
        time.sleep(0.05)
        ended.append(number)
        return 1 / (number - 2)

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        for_each(list(range(100)), work, "test", None)
    assert sorted(begun) == sorted(ended) and len(begun) < 50
    assert threading.active_count() == before


class Recorder(Executor):
    """Does each task when the next one is waited for, and keeps how many were there at a time."""

    def __init__(self):
        self.waiting, self.most = [], 0

    def submit(self, task, *arguments):
        future = Future()
        self.waiting.append((future, task, arguments))
        self.most = max(self.most, len(self.waiting))
        if len(self.waiting) == parallel.MAX_SUBMITTED or arguments[0] >= 30:
            for one, function, words in self.waiting:
                one.set_result(function(*words))
            self.waiting = []
        return future


def test_no_more_is_handed_out_than_a_scheduler_should_keep_in_mind(monkeypatch):
    monkeypatch.setattr(parallel, "MAX_SUBMITTED", 7)
    recorder = Recorder()
    assert for_each(list(range(40)), int, "test", recorder) == list(range(40))
    assert recorder.most == 7


def test_a_dead_worker_is_a_failure_of_its_case():
    def work(number):
        if number == 1:
            raise WorkerDiedError("it died")
        return number

    outcomes = for_each([0, 1, 2], work, "test", name=lambda number: f"case {number}")
    assert [outcomes[0], str(outcomes[1]), outcomes[2]] == [0, "case 1: it died", 2]


def test_a_case_that_shared_the_worker_of_another_is_done_alone_at_the_end():
    tried = []

    def work(number):
        tried.append(number)
        if tried.count(number) == 1 and number in (1, 3):
            raise WorkerDiedError("it died")
        return number

    assert for_each([0, 1, 2, 3, 4], work, "test", threads(2)) == [0, 1, 2, 3, 4]
    assert tried[5:] == [1, 3]


def test_fewer_than_one_thread_is_refused():
    with pytest.raises(InputError, match="the number of cases at a time must be a whole number of at least 1"):
        threads(0)


def test_refused_cases_leave_nothing_in_memory():
    """An error's traceback would keep what the work had in memory: 100 MB a case."""

    class Large:
        pass

    alive = weakref.WeakSet()

    def refuse(_):
        large = Large()
        alive.add(large)
        msg = "no"
        raise InputError(msg)

    outcomes = for_each([1, 2, 3], refuse, "test")
    gc.collect()
    assert [str(outcome) for outcome in outcomes] == ["no"] * 3 and not alive
