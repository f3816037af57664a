"""The progress of trainings, counted in epochs by what they leave on the disk."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tqdm import tqdm

from nnunet_resunet_ds.jobs.job import Trained

_SECONDS_BETWEEN_LINES_IN_A_FILE = 60.0


class EpochBar:
    """A progress bar over the epochs of all trainings."""

    def __init__(self, trainings: Sequence[Trained], bar: "tqdm[None]") -> None:
        self._trainings = trainings
        self._bar = bar

    def look(self) -> None:
        """Look how far all of them are; a training that stops early has done its epochs."""
        with suppress(OSError):  # a file system that does not answer now will do so later
            self._bar.update(sum(training.epochs_done for training in self._trainings) - self._bar.n)

    def say(self, text: str) -> None:
        """Put text before the bar."""
        self._bar.set_description(text)


@contextmanager
def epoch_bar(trainings: Sequence[Trained]) -> Iterator[EpochBar]:
    """Draw the bar until the block ends; a line a minute where it goes to a file.

    It has no end where the epochs of a training are not known.
    """
    known = [training.epochs for training in trainings if training.epochs is not None]
    total = sum(known) if len(known) == len(trainings) else None
    done = sum(training.epochs_done for training in trainings)
    interval = 0.1 if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES_IN_A_FILE
    with tqdm(total=total, initial=done, unit="epoch", mininterval=interval) as bar:
        shown = EpochBar(trainings, bar)
        yield shown
        shown.look()
