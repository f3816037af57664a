"""Run one long command: write what it prints to a file, show its epochs, and let it save before it is stopped."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from tqdm import tqdm

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.locks import try_lock
from nnunet_resunet_ds.base.processes import group_runs
from nnunet_resunet_ds.base.progress_bars import bar_interval
from nnunet_resunet_ds.base.signals import TERMINATED, sigterm_noted

SECONDS_TO_SAVE = 120.0
"""For a training that is told to stop."""
SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_BETWEEN_TRIES = 0.5
_CPU_SETTINGS = {"nnUNet_def_n_proc": "2", "nnUNet_n_proc_DA": "0"}
"""On a CPU, unless set by the user: data is made in the process that trains, in an order that the seed decides."""


class CommandError(Exception):
    """A command failed: the message says where it wrote why."""


class Trained(Protocol):
    """A training that has epochs."""

    @property
    def name(self) -> str:
        """Return what messages call it."""

    @property
    def epochs(self) -> int | None:
        """Return the most epochs there can be; None where that is not known."""

    @property
    def epochs_done(self) -> int:
        """Return the number of epochs that are trained."""


@dataclass(frozen=True)
class Job:
    """A command that goes on where it was when it is run again after any stop."""

    name: str
    """What messages call it."""
    command: tuple[str, ...]
    folder: Path
    """Of ``log.txt``, which takes what the command prints; no other process works on it meanwhile."""
    epochs: int | None
    """The most there can be; None where that is not known."""
    count_epochs: Callable[[], int]
    """Returns the number of epochs that are trained."""

    @property
    def epochs_done(self) -> int:
        """Number of epochs that are trained."""
        return self.count_epochs()


class EpochBar:
    """A progress bar over the epochs of all trainings."""

    def __init__(self, trainings: Sequence[Trained], bar: "tqdm[None]") -> None:
        self._trainings = trainings
        self._bar = bar

    def look(self) -> None:
        """Update the bar; a training that stopped early counts with all its epochs."""
        with suppress(OSError):  # a file system that does not answer now will do so later
            self._bar.update(sum(training.epochs_done for training in self._trainings) - self._bar.n)

    def say(self, text: str) -> None:
        """Put text before the bar."""
        self._bar.set_description(text)


@contextmanager
def epoch_bar(trainings: Sequence[Trained]) -> Iterator[EpochBar]:
    """Draw the bar until the block ends; print a line now and then where standard error is a file.

    The bar has no end where the epochs of a training are not known.
    """
    known = [training.epochs for training in trainings if training.epochs is not None]
    total = sum(known) if len(known) == len(trainings) else None
    done = sum(training.epochs_done for training in trainings)
    with tqdm(total=total, initial=done, unit="epoch", mininterval=bar_interval()) as bar:
        shown = EpochBar(trainings, bar)
        yield shown
        shown.look()


def settings_for(device: str) -> dict[str, str]:
    """Return the environment variables that commands need in addition to the user's."""
    settings = _CPU_SETTINGS if device == "cpu" else {}
    return {name: value for name, value in settings.items() if name not in os.environ}


def command_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this environment with further settings, and the commands of this Python found first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, **settings, "PATH": path, "PYTHONUNBUFFERED": "1"}


@contextmanager
def log_of(folder: Path, patience: float = 0.0) -> Iterator[IO[bytes]]:
    """Open the log of a folder to append to it, for this process and its children alone.

    Args:
        folder: made where it is not there.
        patience: seconds to wait for another process that has it.

    Raises:
        InputError: another process has it, perhaps a training that outlived the command that began it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "log.txt"
    end = time.monotonic() + patience
    with path.open("ab") as stream:
        while not try_lock(stream.fileno()) and time.monotonic() < end:
            time.sleep(_SECONDS_BETWEEN_TRIES)
        if not try_lock(stream.fileno()):
            msg = f"{path}: another process is at work on this; run again when it has ended"
            raise InputError(msg)
        yield stream


def run_command(
    command: Sequence[str],
    settings: Mapping[str, str],
    log: IO[bytes],
    look: Callable[[], object] = lambda: None,
    *,
    launcher: Sequence[str] = (),
) -> None:
    """Run a command to its end.

    Args:
        command: words.
        settings: environment variables, on top of those of this process.
        log: takes what it prints.
        look: is called every few seconds meanwhile.
        launcher: words before the command, which the log does not show.

    Raises:
        CommandError: it failed.
        SystemExit: SIGTERM came; the command was told, and has ended.
    """
    log.write(f"\n$ {shell_line(command, settings)}\n".encode())
    log.flush()
    with sigterm_noted() as terminated:
        # in a session of its own: Ctrl-C reaches us alone, and a training is told by SIGTERM, at which it saves
        process = subprocess.Popen(
            [*launcher, *command],
            env=command_environment(settings),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None and not terminated():
                _wait(process, SECONDS_BETWEEN_LOOKS)
                look()
        finally:
            _end(process)
        if terminated():
            raise SystemExit(TERMINATED)
    if process.returncode != 0:
        msg = f"{command[0]} failed with exit code {process.returncode}; {log.name} ends: {_last_line(Path(log.name))}"
        raise CommandError(msg)


def shell_line(command: Sequence[str], settings: Mapping[str, str]) -> str:
    """Return the command as it can be typed, with the variables that nnU-Net's commands need."""
    if not command[0].startswith("nnUNet"):
        return shlex.join(command)
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in settings.items()), shlex.join(command)])


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a command and all that it has started: ask first, since a training saves then.

    nnU-Net's command for several GPUs ends at once, and its ranks, which it has started, save after it.
    """
    end = time.monotonic() + SECONDS_TO_SAVE
    if process.poll() is None:
        process.terminate()
        _wait(process, SECONDS_TO_SAVE)
    while group_runs(process.pid) and time.monotonic() < end:
        time.sleep(_SECONDS_BETWEEN_TRIES)
    if group_runs(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
