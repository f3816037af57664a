"""Errors that are no fault of the code: their messages say what to do."""

EXIT_BAD_INPUT = 2
"""Exit code of a command that stops at one of them, after one line on standard error."""


class InputError(ValueError):
    """Bad input: the message names the file or setting, what is wrong with it, and what to do.

    The command line prints it on one line without a traceback and exits with code 2.
    """


class TrainingError(RuntimeError):
    """Training cannot go on: the message names epoch, step and cases, and what to do."""


class WorkerDiedError(RuntimeError):
    """Each process of an executor that tried a case died: the message says what to do."""


class SchedulerLostError(RuntimeError):
    """A cluster cannot go on without its scheduler, which is gone: the message says what to do."""


def first_line(error: Exception) -> str:
    """Return what an error says in its first line, or its kind where it says nothing: libraries add pages."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
