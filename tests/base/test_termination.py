"""SIGTERM while something waits for what never comes: the wait is aborted, or the process ended."""

import concurrent.futures
import ctypes
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
import time

import pytest
from struck import LONG, members, quick_ending, struck

from nnunet_resunet_ds.base.processes import adopt_orphans, descendants, end_descendants
from nnunet_resunet_ds.base.termination import Aborted, Termination, terminable

ABORTED, BY_FORCE = 5, 6


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    with quick_ending(monkeypatch):
        yield


def sleep():
    time.sleep(LONG)


def for_an_event():
    threading.Event().wait()


def for_another_process():
    multiprocessing.Queue().get()


def for_a_result():
    concurrent.futures.Future().result()


def for_a_descriptor():
    select.select([os.pipe()[0]], [], [])


def for_a_thread_at_the_end_of_a_block():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(time.sleep, LONG)


def in_a_library_that_goes_on_after_errors():
    while True:
        try:
            time.sleep(LONG)
        except Exception:
            continue


def in_a_library_that_catches_all_once():
    try:
        time.sleep(LONG)
    except BaseException:
        time.sleep(LONG)


WAITS = [
    sleep, for_an_event, for_another_process, for_a_result, for_a_descriptor, for_a_thread_at_the_end_of_a_block,
    in_a_library_that_goes_on_after_errors, in_a_library_that_catches_all_once,
]  # fmt: skip


def waiting(wait):
    def work(ready):
        with terminable(lambda: os._exit(BY_FORCE)) as termination:
            try:
                with termination.abortable():
                    ready()
                    wait()
            except Aborted:
                assert termination.has_come()
                os._exit(ABORTED)

    return work


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_in_python_is_aborted(wait, tmp_path):
    ended = struck(waiting(wait), tmp_path)
    assert (ended.code, ended.left) == (ABORTED, []), ended.printed


def in_c_code():
    """A lock taken twice: signals do not end this wait, and Python's own lock is free meanwhile."""
    mutex = ctypes.create_string_buffer(256)
    library = ctypes.CDLL(None)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


def test_a_wait_in_c_code_ends_the_process(tmp_path):
    ended = struck(waiting(in_c_code), tmp_path)
    assert (ended.code, ended.left) == (BY_FORCE, []), ended.printed


def test_what_may_not_be_aborted_comes_to_its_end(tmp_path):
    def work(ready):
        with terminable(lambda: os._exit(BY_FORCE)) as termination:
            ready()
            termination.saving()
            time.sleep(3)  # longer than until the last resort
            os.write(1, b"saved")

    ended = struck(work, tmp_path)
    assert (ended.code, ended.printed) == (0, "saved")


def test_it_is_noted_and_handlers_are_as_before():
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    threads = threading.active_count()
    with terminable(lambda: None) as termination, termination.abortable():
        assert not termination.has_come()
        os.kill(os.getpid(), signal.SIGTERM)
        assert termination.has_come()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert signal.set_wakeup_fd(-1) == -1 and threading.active_count() == threads


@pytest.fixture
def interruptible():
    """Python's own SIGINT: a shell that starts the tests in the background has them ignore it."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_counts_as_sigterm_where_asked():
    with terminable(lambda: None, also_interrupts=True) as termination:
        os.kill(os.getpid(), signal.SIGINT)
        assert termination.has_come()
    with pytest.raises(KeyboardInterrupt), terminable(lambda: None):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_forked_process_ends_by_sigterm_and_its_signals_are_its_own():
    with terminable(lambda: None) as termination:
        pid = os.fork()
        if pid == 0:
            time.sleep(LONG)
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
        assert not termination.has_come()


def test_in_another_thread_it_never_comes():
    found = []

    def other():
        with terminable(lambda: None) as termination:
            found.append(termination)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert isinstance(found[0], Termination) and not found[0].has_come()


STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(1000)"
FAMILY = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {STUBBORN!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.parametrize("orphan", [False, True])
def test_every_process_that_was_started_ends_the_stubborn_ones_and_orphans_too(tmp_path, orphan):
    def work(ready):
        adopt_orphans(adopt=True)
        child = subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE)
        grandchild = int(child.stdout.readline())
        assert set(descendants(os.getpid())) == {child.pid, grandchild}
        if orphan:
            child.kill()
            child.wait()
        end_descendants()
        assert members(os.getsid(0)) == [os.getpid()]
        ready()
        time.sleep(LONG)

    ended = struck(work, tmp_path)
    assert (ended.code, ended.left) == (-signal.SIGTERM, []), ended.printed


def test_a_thread_that_starts_one_process_after_the_other_leaves_none(tmp_path):
    """As the threads of a compiler do, whose next work begins where the last has failed."""

    def work(ready):
        def start_again_and_again():
            while True:
                subprocess.Popen(["sleep", "1000"]).wait()

        for _ in range(4):
            threading.Thread(target=start_again_and_again, daemon=True).start()
        time.sleep(0.5)
        ready()
        time.sleep(0.5)
        end_descendants()
        os._exit(ABORTED)

    def ignoring(ready):
        signal.signal(signal.SIGTERM, lambda *_: None)
        work(ready)

    ended = struck(ignoring, tmp_path)
    assert (ended.code, ended.left) == (ABORTED, []), ended.printed
