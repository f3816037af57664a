"""One long command, and how far it has come."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Trained(Protocol):
    """What has epochs."""

    @property
    def name(self) -> str:
        """Return what messages call it."""

    @property
    def epochs(self) -> int | None:
        """Return the most epochs there can be; None where that is not known."""

    @property
    def epochs_done(self) -> int:
        """Return those that are trained."""


@dataclass(frozen=True)
class Job:
    """A command that can be run again after any stop, and then goes on where it was."""

    name: str
    """What messages call it."""
    command: tuple[str, ...]
    folder: Path
    """For ``log.txt``, what the command prints; nobody else is at work on it meanwhile."""
    epochs: int | None
    """The most there can be; None where that is not known."""
    count_epochs: Callable[[], int]
    """How many are trained."""

    @property
    def epochs_done(self) -> int:
        """Epochs that are trained."""
        return self.count_epochs()
