"""One writer at a time: what a process holds, and what the processes that it forks do not."""

import os
import signal

import pytest

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.locks import only_writer


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path):
    with (
        only_writer(tmp_path),
        pytest.raises(InputError, match="another process is writing this"),
        only_writer(tmp_path),
    ):
        pass
    with only_writer(tmp_path):
        pass


def test_a_forked_process_does_not_keep_what_its_parent_has_locked(tmp_path):
    """As a process that loads data, which outlives a training that is killed."""
    begun, begins = os.pipe()
    with only_writer(tmp_path):
        child = os.fork()
        if child == 0:
            os.write(begins, b"1")
            signal.pause()
    os.read(begun, 1)
    try:
        with only_writer(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
