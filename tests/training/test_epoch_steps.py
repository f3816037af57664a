"""The steps of an epoch: what is looked at when, and what is not waited for."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from nnunet_resunet_ds.base.errors import TrainingError
from nnunet_resunet_ds.training import epoch_steps
from nnunet_resunet_ds.training.epoch_steps import Terminated, epoch_batches, run_steps

RUNNING = SimpleNamespace(has_come=lambda: False, abortable=nullcontext)
"""A training that nobody ends."""


class Loss(torch.Tensor):
    """A loss that notes when somebody waits for it."""

    def cpu(self):
        self.looked_at.append(int(self))
        return self.as_subclass(torch.Tensor)


def losses_of(values, looked_at):
    for value in values:
        loss = torch.tensor(float(value)).as_subclass(Loss)
        loss.looked_at = looked_at
        yield loss


def batches(n, ends=False):
    for number in range(n):
        yield {"keys": [f"case_{number}"]}, f"epoch 0, train: step {number}"
    if ends:
        raise Terminated


def test_a_loss_is_looked_at_when_the_next_step_has_begun():
    order = []
    losses = losses_of(range(3), looked_at=order)

    def step(batch):
        order.append(batch["keys"][0])
        return {"loss": next(losses)}

    outputs = run_steps(step, batches(3), RUNNING)
    assert order == ["case_0", "case_1", 0, "case_2", 1, 2]
    assert [float(output["loss"]) for output in outputs] == [0, 1, 2]
    assert not any(isinstance(output["loss"], torch.Tensor) for output in outputs)  # nnU-Net takes NumPy's


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_a_loss_that_is_no_number_names_the_cases_of_its_own_step(bad):
    losses = losses_of([0] * bad + [float("nan")] + [0] * 3, looked_at=[])
    with pytest.raises(TrainingError, match=rf"step {bad}: the loss is nan for cases case_{bad};"):
        run_steps(lambda batch: {"loss": next(losses).as_subclass(torch.Tensor)}, batches(3), RUNNING)


def test_weights_that_came_from_no_number_are_not_saved_under_sigterm():
    with pytest.raises(TrainingError, match="step 0: the loss is nan"):
        run_steps(lambda batch: {"loss": torch.tensor(torch.nan)}, batches(1, ends=True), RUNNING)
    with pytest.raises(Terminated):
        run_steps(lambda batch: {"loss": torch.tensor(0.5)}, batches(1, ends=True), RUNNING)


@pytest.mark.parametrize("has_come", [False, True])
def test_a_rank_that_has_ended_is_told_of_in_a_line_unless_all_are_to_end(monkeypatch, has_come):
    def closed(_):
        raise RuntimeError("Connection closed by peer\nand a page of frames")

    monkeypatch.setattr(epoch_steps, "on_any_rank", closed)
    trainer = SimpleNamespace(current_epoch=3, local_rank=0)
    termination = SimpleNamespace(has_come=lambda: has_come)
    error, message = (RuntimeError, "closed") if has_come else (TrainingError, "^another rank has ended .Connection")
    with pytest.raises(error, match=message):
        next(epoch_batches(trainer, iter([{"data": 1}]), 2, "train", termination))
