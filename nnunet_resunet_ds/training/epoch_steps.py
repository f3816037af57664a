"""Run the steps of an epoch, batch by batch, and tell SIGTERM and failures of loading from those of a step."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from nnunet_resunet_ds.base.errors import InputError, TrainingError, first_line
from nnunet_resunet_ds.base.progress_bars import passing_bar
from nnunet_resunet_ds.base.termination import Aborted, Termination
from nnunet_resunet_ds.compute.transfer import to_host_later
from nnunet_resunet_ds.training.ranks import on_any_rank

if TYPE_CHECKING:  # its import takes seconds
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

Batch = dict[str, Any]
Outputs = dict[str, Any]
"""What nnU-Net collects of a step."""


class Terminated(Exception):  # noqa: N818 (no error)
    """SIGTERM came in the middle of an epoch."""


class _Begun(NamedTuple):
    """A step that a GPU may still compute."""

    outputs: Outputs
    loss: Callable[[], torch.Tensor]
    """Waits for it."""
    cases: list[str]
    where: str
    """In the training, for messages."""


@contextmanager
def interrupted_where(termination: Termination) -> Iterator[None]:
    """Raise `Aborted` for any error of the block after SIGTERM: it ends loading processes, too, and errors follow.

    Raises:
        Aborted: SIGTERM came.
    """
    try:
        yield
    except (InputError, TrainingError, OSError, Terminated):
        raise
    except Exception as error:
        if termination.has_come():
            raise Aborted from error
        raise


def run_steps(
    step: Callable[[Batch], Outputs], batches: Iterator[tuple[Batch, str]], termination: Termination
) -> list[Outputs]:
    """Run a step on every batch; under SIGTERM it may be given up, and what it waits for, too."""
    with interrupted_where(termination), termination.abortable():
        return list(_outputs_of_steps(step, batches))


def _outputs_of_steps(step: Callable[[Batch], Outputs], batches: Iterator[tuple[Batch, str]]) -> Iterator[Outputs]:
    """Yield the outputs of each step when the next one has begun, so that a GPU is not waited for between them."""
    begun: deque[_Begun] = deque()
    try:
        for batch, where in batches:
            outputs = step(batch)
            loss = to_host_later(torch.as_tensor(outputs["loss"]))
            begun.append(_Begun(outputs, loss, list(map(str, batch.get("keys", []))), where))
            if len(begun) > 1:
                yield _checked(begun.popleft())
    except Terminated:  # what is saved now has not come from a loss that is no number
        for last in begun:
            _checked(last)
        raise
    for last in begun:
        yield _checked(last)


def epoch_batches(
    trainer: "nnUNetTrainer", loader: Iterator[Batch], n_steps: int, name: str, termination: Termination
) -> Iterator[tuple[Batch, str]]:
    """Yield each batch of an epoch, with a progress bar, and its name for messages.

    Args:
        trainer: a `ResumableTrainer`.
        loader: of its training or validation batches.
        n_steps: of the epoch.
        name: of what the batches are for.
        termination: says whether SIGTERM has come.

    Raises:
        TrainingError: a loading process has died, or another rank.
        Terminated: SIGTERM came, on any rank.
    """
    title = f"epoch {trainer.current_epoch}, {name}"
    for number in passing_bar(range(n_steps), title, "step", hidden=bool(trainer.local_rank)):
        batch = _next_batch(loader, termination)
        if _is_ended(batch is None, termination) or batch is None:
            raise Terminated
        yield trainer.prepared(batch), f"{title}: step {number}"


def _is_ended(here: bool, termination: Termination) -> bool:
    """Tell whether SIGTERM has come, on any rank.

    Raises:
        TrainingError: another rank has ended without it.
    """
    try:
        return on_any_rank(here)
    except RuntimeError as error:
        if termination.has_come():
            raise
        msg = f"another rank has ended ({first_line(error)}); what it printed says why"
        raise TrainingError(msg) from error


def _next_batch(loader: Iterator[Batch], termination: Termination) -> Batch | None:
    """Return the next batch; None under SIGTERM, which batch systems send to the loading processes, too.

    Raises:
        TrainingError: a loading process has died.
    """
    if termination.has_come():
        return None
    try:
        return next(loader)
    except RuntimeError as error:
        if termination.has_come():
            return None
        msg = (
            f"a process that loads data has died ({first_line(error)}); what it printed is above. Where nothing is, "
            "memory ran out: set nnUNet_n_proc_DA lower (resunet-ds doctor says how low). --c goes on from the last "
            "checkpoint"
        )
        raise TrainingError(msg) from error


def _checked(step: _Begun) -> Outputs:
    """Return the outputs of a step with its loss as nnU-Net takes it.

    Raises:
        TrainingError: the loss is not a number; the message names the cases.
    """
    loss: NDArray[np.floating] = np.asarray(step.loss())
    if not np.isfinite(loss).all():
        msg = (
            f"{step.where}: the loss is {float(np.mean(loss))} for cases {', '.join(step.cases)}; look at these cases, "
            "or train with a lower learning rate or in fp32 (resunet-ds plan --lr, --precision). Earlier checkpoints "
            "are intact: --c goes on from the last"
        )
        raise TrainingError(msg)
    return {**step.outputs, "loss": loss}
