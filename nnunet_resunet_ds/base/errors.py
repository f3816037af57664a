"""Define the errors that are no fault of our code. Their messages say what to do."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_BAD_INPUT = 2
"""Exit code of a command that stops at one of them, after one line on standard error."""


class InputError(ValueError):
    """Bad input: the message names the file or setting, what is wrong with it, and what to do.

    The command line prints it on one line without a traceback and exits with code 2.
    """


@contextmanager
def said_of(subject: object) -> Iterator[None]:
    """Put the file or case that it is about in front of the message of an `InputError` of the block."""
    try:
        yield
    except InputError as error:
        msg = f"{subject}: {error}"
        raise InputError(msg) from error


class TrainingError(RuntimeError):
    """Training cannot go on: the message names epoch, step and cases, and what to do."""


class WorkerDiedError(RuntimeError):
    """A worker process died at each try of a case: the message says what to do."""


class SchedulerLostError(RuntimeError):
    """Work on a cluster cannot go on, because its scheduler is gone: the message says what to do."""


_OUT_OF_MEMORY = ("out of memory", "STATUS_ALLOC_FAILED", "STATUS_NOT_INITIALIZED")
"""Of PyTorch, the CUDA driver and Triton; of cuBLAS and cuDNN, which have no room for what they need themselves."""


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether a GPU had no memory left, which each library says in words of its own."""
    return any(words in str(error) for words in _OUT_OF_MEMORY)


def forget_locals(error: BaseException) -> None:
    """Let go of what an error that is kept, and those it comes from, would hold: networks and arrays, on a GPU too."""
    cause: BaseException | None = error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type where the message is empty: libraries write pages."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
