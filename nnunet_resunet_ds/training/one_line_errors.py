"""End nnU-Net's own training command with one line and exit code 2 where the user can repair what is wrong."""

import errno
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import distributed

from nnunet_resunet_ds.base.errors import EXIT_BAD_INPUT, InputError, TrainingError
from nnunet_resunet_ds.training.ranks import is_distributed

COMMAND = "nnUNetv2_train"
_FILE = ("nnunetv2", "run", "run_training.py")
"""Of nnU-Net, which can be run instead of the command."""
_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)
_SECONDS_FOR_THE_FIRST_RANK = 10.0
"""To say what all ranks find: the first rank that ends takes the others with it, before they say it again."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print an error that the user can repair and exit, where the running program is nnU-Net's; else let it be raised.

    nnU-Net calls a trainer's methods with nothing around them, so this decorates the methods.

    Raises:
        SystemExit: with code 2, after a line a problem on stderr.
    """
    try:
        yield
    except (InputError, TrainingError, OSError) as error:
        message = _message(error)
        if not message or not is_nnunets_command():
            raise
        if isinstance(error, InputError) and _rank() > 0:
            time.sleep(_SECONDS_FOR_THE_FIRST_RANK)
        sys.stderr.writelines(f"{COMMAND}: error: {line}\n" for line in message.splitlines())
        sys.stderr.flush()
        raise SystemExit(EXIT_BAD_INPUT) from error


def _message(error: Exception) -> str:
    """Return what to print; nothing for an error of other kinds than file and disk, such as a broken connection."""
    if not isinstance(error, OSError):
        return str(error)
    if error.filename is None and error.errno not in _DISK_IS_FULL:
        return ""
    return f"{error.filename or 'disk'}: {error.strerror or error}"


def is_nnunets_command() -> bool:
    """Tell whether the running program is nnU-Net's ``nnUNetv2_train``."""
    program = Path(sys.argv[0])
    return program.stem == COMMAND or program.parts[-len(_FILE) :] == _FILE


def _rank() -> int:
    return distributed.get_rank() if is_distributed() else 0
