"""SIGTERM to the process group of a training that waits: it ends with a checkpoint, code 143 and no process left.

The times are a tenth of the real ones, but for the tests that are long.
"""

import ctypes
import subprocess
import sys
import threading
import time

import pytest
import torch
from scripted_training import FINGERPRINT, starter
from struck import LONG, quick_ending, struck
from torch import nn

from nnunet_resunet_ds.training.checkpoint import checkpoint_names, checkpoints, training_state

ENDED = 143
EPOCH = 2
WAITS = "import time; print(1, flush=True); time.sleep(1000)"
IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"


@pytest.fixture
def start(dataset, monkeypatch):
    return starter(dataset, monkeypatch)


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    if "long" in request.keywords:
        yield
    else:
        with quick_ending(monkeypatch):
            yield


def in_epoch(epoch, wait):
    """Wait in the second step of an epoch, so that one is done."""
    seen = []

    def during_step(trainer):
        if trainer.current_epoch == epoch:
            seen.append(1)
            if len(seen) == 2:
                wait()

    return during_step


def latest(made):
    return checkpoints.read_checkpoint(made.output_folder_path / checkpoint_names.LATEST)


def assert_saved(made, ended, epoch=EPOCH):
    assert (ended.code, ended.left) == (ENDED, []), ended.printed
    assert f"SIGTERM: saved in epoch {epoch}; continue with --c." in ended.printed
    assert "Traceback" not in ended.printed
    found = latest(made)
    assert found["current_epoch"] == epoch
    assert {len(values) for values in found["logging"].values()} == {epoch}


def wait_for_a_thread_that_never_ends(ready):
    """As a step that C code computes: signals do not end it."""
    mutex = ctypes.create_string_buffer(256)
    library = ctypes.CDLL(None)
    library.pthread_mutex_lock(mutex)
    ready()
    library.pthread_mutex_lock(mutex)


def sleep(ready):
    ready()
    time.sleep(LONG)


@pytest.mark.parametrize("wait", [sleep, wait_for_a_thread_that_never_ends])
def test_a_step_that_never_ends(start, tmp_path, wait):
    made = start()

    def work(ready):
        made.during_step = in_epoch(EPOCH, lambda: wait(ready))
        made.run_training()

    assert_saved(made, struck(work, tmp_path))
    assert latest(made)["network_weights"][FINGERPRINT].tolist() == [EPOCH] * 3  # of the step before
    resumed = start(continued=True)
    assert resumed.current_epoch == EPOCH


def test_a_validation_step_that_never_ends(start, tmp_path):
    made = start()

    def work(ready):
        made.validation_step = lambda batch: sleep(ready)
        made.run_training()

    assert_saved(made, struck(work, tmp_path), epoch=0)


def test_loading_that_never_begins(start, tmp_path):
    made = start()

    def work(ready):
        begin = made.on_train_start
        made.on_train_start = lambda: (begin(), sleep(ready))
        made.run_training()

    assert_saved(made, struck(work, tmp_path), epoch=0)


def test_a_batch_that_never_comes_from_processes_that_do_not_end_by_sigterm(start, tmp_path):
    made = start()

    def work(ready):
        def batches():
            yield from [{"keys": []}] * 3
            helper = subprocess.Popen([sys.executable, "-c", IGNORES_SIGTERM], stdout=subprocess.PIPE)
            helper.stdout.readline()
            sleep(ready)

        begin = made.on_train_start
        made.on_train_start = lambda: (begin(), setattr(made, "dataloader_train", batches()))
        made.run_training()

    assert_saved(made, struck(work, tmp_path), epoch=1)


def test_a_helper_that_dies_of_the_signal_is_no_error(start, tmp_path):
    """As a compiler's, or one that loads before the first batch: that its answer will not come is raised."""
    made = start()

    def work(ready):
        def wait():
            helper = subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE)
            helper.stdout.readline()
            ready()
            helper.wait()
            raise RuntimeError("the helper is gone")

        made.during_step = in_epoch(EPOCH, wait)
        made.run_training()

    assert_saved(made, struck(work, tmp_path))


def test_weights_that_are_being_changed_are_not_saved(start, tmp_path):
    made = start()

    class Stuck(torch.optim.SGD):
        def step(self, closure=None):
            sleep(self.ready)

    def work(ready):
        begin = made.on_train_start

        def with_stuck_optimizer():
            begin()
            made.optimizer = Stuck([nn.Parameter(torch.zeros(1))], 1.0)
            made.optimizer.ready = ready

        made.on_train_start = with_stuck_optimizer
        made.during_step = in_epoch(EPOCH, lambda: made.optimizer.step(None))
        made.run_training()

    ended = struck(work, tmp_path)
    assert (ended.code, ended.left) == (ENDED, []), ended.printed
    assert "there is nothing new to save" in ended.printed
    assert not (made.output_folder_path / checkpoint_names.LATEST).exists()
    assert training_state.furthest_checkpoint(made.output_folder_path).checkpoint["current_epoch"] == EPOCH


def test_python_need_not_come_to_its_end(start, tmp_path):
    """A thread that nothing ends, such as that of an interrupted compiler, is not waited for."""
    made = start()

    def work(ready):
        threading.Thread(target=time.sleep, args=(LONG,)).start()
        made.during_step = in_epoch(EPOCH, lambda: (ready(), time.sleep(0.5)))  # the step comes to its end
        made.run_training()

    assert_saved(made, struck(work, tmp_path))


def test_another_program_gets_an_exception(start, tmp_path):
    made = start()

    def work(ready):
        made.during_step = in_epoch(EPOCH, lambda: sleep(ready))
        try:
            made.run_training()
        except SystemExit as exit_:
            assert exit_.code == ENDED
            raise SystemExit(7) from exit_

    assert struck(work, tmp_path, program="notebook").code == 7


@pytest.mark.long
def test_with_the_real_times_it_ends_within_30_seconds(start, tmp_path):
    made = start()

    def work(ready):
        made.during_step = in_epoch(EPOCH, lambda: wait_for_a_thread_that_never_ends(ready))
        made.run_training()

    assert_saved(made, struck(work, tmp_path))
