"""In nnU-Net's own training command, what a user can repair ends in one line and exit code 2, as in ours."""

import errno
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import distributed

from nnunet_resunet_ds.base.errors import InputError, TrainingError

COMMAND = "nnUNetv2_train"
EXIT_CODE = 2
_FILE = ("nnunetv2", "run", "run_training.py")
"""Of nnU-Net, which can be run instead of the command."""
_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)
_SECONDS_FOR_THE_FIRST_RANK = 10.0
"""To say what all ranks find: the first rank that ends takes the others with it."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print what a user can repair and exit, where the running program is nnU-Net's; elsewhere let it be raised.

    nnU-Net calls a trainer's methods with nothing around them, so this decorates the methods.

    Raises:
        SystemExit: with code 2, after a line a problem on stderr.
    """
    try:
        yield
    except (InputError, TrainingError, OSError) as error:
        message = _message(error)
        if not message or not _is_nnunets_command():
            raise
        if isinstance(error, InputError) and _rank() > 0:
            time.sleep(_SECONDS_FOR_THE_FIRST_RANK)
        else:
            sys.stderr.writelines(f"{COMMAND}: error: {line}\n" for line in message.splitlines())
            sys.stderr.flush()
        raise SystemExit(EXIT_CODE) from error


def _message(error: Exception) -> str:
    """Return what to print; nothing for what is no fault of a file or disk, such as a broken connection."""
    if not isinstance(error, OSError):
        return str(error)
    if error.filename is None and error.errno not in _DISK_IS_FULL:
        return ""
    return f"{error.filename or 'disk'}: {error.strerror or error}"


def _is_nnunets_command() -> bool:
    program = Path(sys.argv[0])
    return program.stem == COMMAND or program.parts[-len(_FILE) :] == _FILE


def _rank() -> int:
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
