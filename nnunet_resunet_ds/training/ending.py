"""End a training under SIGTERM: with a checkpoint wherever one can be made, and with no process left."""

import atexit
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from nnunet_resunet_ds.base.processes import end_descendants
from nnunet_resunet_ds.base.signals import TERMINATED
from nnunet_resunet_ds.training.checkpoint import checkpoint_names
from nnunet_resunet_ds.training.one_line_errors import is_nnunets_command
from nnunet_resunet_ds.training.ranks import wait_for_all_ranks

if TYPE_CHECKING:  # its import takes seconds
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

SECONDS_FOR_A_LAST_SAVE = 6.0
"""Where the main thread does not come back; the disk may be what it waits for."""
_SECONDS_FOR_THE_FIRST_RANK = 6.0
"""To save, where ranks no longer wait for each other: the first rank that exits takes the others with it."""
_SECONDS_TO_TIDY_UP = 5.0
"""For loading processes to end a batch, and for what other packages do when Python ends."""
_SECONDS_TO_FLUSH = 1.0
"""What was printed, to something that may no longer read."""


def save_and_exit(trainer: "nnUNetTrainer", *, aborted: bool) -> NoReturn:
    """Save in the middle of an epoch, and exit with code 143.

    Args:
        trainer: a `ResumableTrainer`.
        aborted: whether a step was given up, so that other ranks may be anywhere.

    Raises:
        SystemExit: always, where it is not nnU-Net's command that runs.
    """
    _save(trainer)
    if not aborted:
        wait_for_all_ranks()
    elif trainer.local_rank != 0:
        time.sleep(_SECONDS_FOR_THE_FIRST_RANK)
    leave(trainer)


def leave(trainer: "nnUNetTrainer") -> NoReturn:
    """Exit with code 143, as SIGTERM asks, where all is saved.

    nnU-Net's command ends here and now: at the end of Python, threads and processes of an interrupted compiler may be
    waited for without end.

    Raises:
        SystemExit: always, where another program runs.
    """
    if is_nnunets_command():
        _within(_SECONDS_TO_TIDY_UP, partial(close_loaders, trainer), atexit._run_exitfuncs)
        _end_process()
    close_loaders(trainer)
    raise SystemExit(TERMINATED)


def end_at_once(trainer: "nnUNetTrainer") -> NoReturn:
    """End the process from another thread than that which trains, which does not come back: save what can be saved.

    Args:
        trainer: a `ResumableTrainer`.
    """
    _within(SECONDS_FOR_A_LAST_SAVE, partial(_save, trainer))
    _end_process()


def close_loaders(trainer: "nnUNetTrainer") -> None:
    """End the processes that load and augment."""
    for loader in (trainer.dataloader_train, trainer.dataloader_val):
        if hasattr(loader, "_finish"):
            loader._finish()


def _save(trainer: "nnUNetTrainer") -> None:
    """Save, and say so; not where weights or schedule are being changed, or are not there yet."""
    if trainer.disable_checkpointing or trainer.local_rank != 0:
        return
    if trainer.is_changing or not trainer.was_initialized:
        trainer.print_to_log_file("SIGTERM: there is nothing new to save; --c goes on from the last checkpoint.")
        return
    trainer.save_checkpoint(str(Path(trainer.output_folder, checkpoint_names.LATEST)))
    trainer.print_to_log_file(f"SIGTERM: saved in epoch {trainer.current_epoch}; continue with --c.")


def _end_process() -> NoReturn:
    """End this process and all that it has started, without waiting for any of them."""
    end_descendants()
    _within(_SECONDS_TO_FLUSH, sys.stdout.flush, sys.stderr.flush)
    os._exit(TERMINATED)


def _within(seconds: float, *works: Callable[[], object]) -> None:
    """Do one work after the other, and wait for so long at most: any of them may wait for what never comes."""

    def do() -> None:
        for work in works:
            work()

    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    thread.join(seconds)
