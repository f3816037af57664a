"""Progress bars on a screen and in a file."""

import io

import pytest

from nnunet_resunet_ds.base import progress_bars
from nnunet_resunet_ds.base.progress_bars import bar_interval, passing_bar


class Stream(io.StringIO):
    """Standard error, a screen or a file."""

    def __init__(self, *, is_screen):
        super().__init__()
        self.isatty = lambda: is_screen


@pytest.fixture
def error_on(monkeypatch):
    def choose(*, is_screen):
        stream = Stream(is_screen=is_screen)
        monkeypatch.setattr("sys.stderr", stream)
        return stream

    return choose


def test_a_screen_is_drawn_at_once(error_on):
    stream = error_on(is_screen=True)
    assert list(passing_bar(range(3), "epoch 0, train", "step")) == [0, 1, 2]
    assert "epoch 0, train:" in stream.getvalue() and "/3" in stream.getvalue()
    assert bar_interval(0.5) == 0.5


def test_a_file_gets_no_line_of_what_is_done_soon(error_on):
    stream = error_on(is_screen=False)
    assert list(passing_bar(range(3), "epoch 0, train", "step")) == [0, 1, 2]
    assert stream.getvalue() == ""


def test_a_file_gets_lines_of_what_goes_on(error_on, monkeypatch):
    stream = error_on(is_screen=False)
    monkeypatch.setattr(progress_bars, "SECONDS_IN_A_FILE", 1e-6)
    list(passing_bar(range(3), "epoch 0, train", "step"))
    assert "epoch 0, train:" in stream.getvalue() and "2/3" in stream.getvalue()


def test_a_rank_that_is_not_the_first_draws_nothing(error_on):
    stream = error_on(is_screen=True)
    assert list(passing_bar(range(3), "epoch 0, train", "step", hidden=True)) == [0, 1, 2]
    assert stream.getvalue() == ""
