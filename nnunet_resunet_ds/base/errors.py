"""Define the errors that are no fault of our code. Their messages say what to do."""

EXIT_BAD_INPUT = 2
"""Exit code of a command that stops at one of them, after one line on standard error."""


class InputError(ValueError):
    """Bad input: the message names the file or setting, what is wrong with it, and what to do.

    The command line prints it on one line without a traceback and exits with code 2.
    """


class TrainingError(RuntimeError):
    """Training cannot go on: the message names epoch, step and cases, and what to do."""


class WorkerDiedError(RuntimeError):
    """A worker process died at each try of a case: the message says what to do."""


class SchedulerLostError(RuntimeError):
    """Work on a cluster cannot go on, because its scheduler is gone: the message says what to do."""


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type where the message is empty: libraries write pages."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
