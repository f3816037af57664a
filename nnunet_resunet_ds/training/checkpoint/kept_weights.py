"""Keep the weights of the last epochs of a training, a file an epoch, to be averaged when it has ended."""

import re
from pathlib import Path

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import remove_half_written
from nnunet_resunet_ds.training.checkpoint import checkpoints
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import KEPT

USUAL_NUMBER = 5
"""Of epochs to average, where nothing else is said."""
_NAME = re.compile(r"epoch_(\d+)\.pth")


def keep(state: checkpoints.Checkpoint, fold: Path, n_kept: int) -> None:
    """Write the weights of an epoch, and remove those that are now too old.

    Args:
        state: `weights_state` of the training; its last epoch is kept.
        fold: folder of the fold.
        n_kept: epochs that are kept, at least one.

    Raises:
        OSError: they could not be written whole.
    """
    epoch = state["current_epoch"] - 1
    (fold / KEPT).mkdir(exist_ok=True)
    checkpoints.write_checkpoint(state, _file(fold, epoch), then="continue with --c")
    for earlier, path in kept_epochs(fold).items():
        if earlier <= epoch - n_kept:
            path.unlink(missing_ok=True)


def forget_from(fold: Path, epoch: int) -> None:
    """Remove what was kept of an epoch and those after it, which a training that was stopped runs again.

    Args:
        fold: folder of the fold.
        epoch: the first that is run again.
    """
    remove_half_written(fold / KEPT, "*")
    for kept, path in kept_epochs(fold).items():
        if kept >= epoch:
            path.unlink(missing_ok=True)


def kept_epochs(fold: Path) -> dict[int, Path]:
    """Return the epochs whose weights are kept, the first one first, each with its file."""
    names = {path: _NAME.fullmatch(path.name) for path in (fold / KEPT).glob("*.pth")}
    return dict(sorted((int(match[1]), path) for path, match in names.items() if match))


def last_kept(fold: Path, n_epochs: int, last: int | None) -> dict[int, Path]:
    """Return the last epochs of a training, each with the file of its weights.

    Args:
        fold: folder of the fold.
        n_epochs: of the whole training.
        last: how many; None is all that are kept without a gap.

    Raises:
        InputError: not all of them are kept, or none at all.
    """
    kept = kept_epochs(fold)
    unbroken = next((n for n in range(n_epochs) if n_epochs - 1 - n not in kept), n_epochs)
    wanted = (unbroken or USUAL_NUMBER) if last is None else last
    if wanted > unbroken:
        fewer = f"give --last {unbroken}, or " if unbroken else ""
        msg = (
            f"{fold / KEPT}: holds the weights of {unbroken} of the last {wanted} epochs; {fewer}train with plans that "
            f"keep them: resunet-ds plan --keep-weights {wanted}"
        )
        raise InputError(msg)
    return {epoch: kept[epoch] for epoch in range(n_epochs - wanted, n_epochs)}


def _file(fold: Path, epoch: int) -> Path:
    return fold / KEPT / f"epoch_{epoch:04d}.pth"
