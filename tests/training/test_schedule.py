"""The plateau and the early stop, against a plain retelling of decision D7."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.training.checkpoint.training_state import restore_training_state
from nnunet_resunet_ds.training.planning.recipe import Recipe
from nnunet_resunet_ds.training.schedule import PlateauSchedule, PolySchedule, schedule_of


def make(factor=0.5, patience=5, stopping_patience=10, lr=1.0):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr)
    schedule = PlateauSchedule(optimizer, factor=factor, patience=patience, stopping_patience=stopping_patience)
    return optimizer, schedule


def lr_of(optimizer):
    return optimizer.param_groups[0]["lr"]


def retold(losses, factor, patience, stopping_patience):
    """Yield learning rate, best epoch and whether to stop after each epoch, in so many words."""
    best, best_epoch, lr, waited_for_lr, waited = float("inf"), None, 1.0, 0, 0
    for epoch, loss in enumerate(losses):
        if loss < best * (1 - 1e-4):
            best, best_epoch, waited_for_lr, waited = loss, epoch, 0, 0
        else:
            waited_for_lr, waited = waited_for_lr + 1, waited + 1
        if waited_for_lr > patience:
            lr, waited_for_lr = lr * factor, 0
        yield lr, best_epoch, waited >= stopping_patience


losses = st.lists(st.floats(0.01, 1) | st.sampled_from([0.5, 0.5 * (1 - 1e-4), 0.5 * (1 - 2e-4)]), max_size=40)


@given(losses, st.sampled_from([0.1, 0.5]), st.integers(0, 6), st.integers(1, 12))
def test_it_does_what_d7_says(losses, factor, patience, stopping_patience):
    optimizer, schedule = make(factor, patience, stopping_patience)
    for epoch, expected in enumerate(retold(losses, factor, patience, stopping_patience)):
        schedule.step(epoch)  # as nnU-Net does before each epoch
        improved = schedule.observe(epoch, losses[epoch])
        assert (pytest.approx(lr_of(optimizer), abs=2e-8), schedule.best_epoch, schedule.should_stop) == expected
        assert improved == (schedule.best_epoch == epoch)


def test_the_recipe_s_numbers():
    """Six epochs without improvement halve the rate, ten stop the training."""
    recipe = Recipe()
    assert (recipe.plateau_factor, recipe.plateau_patience, recipe.stopping_patience) == (0.5, 5, 10)
    optimizer, schedule = make(recipe.plateau_factor, recipe.plateau_patience, recipe.stopping_patience)
    rates, stops = [], []
    for epoch in range(11):
        schedule.observe(epoch, 0.3)
        rates.append(lr_of(optimizer))
        stops.append(schedule.should_stop)
    assert rates == [1.0] * 6 + [0.5] * 5
    assert stops == [False] * 10 + [True]


@given(losses, st.data())
def test_it_goes_on_from_its_state(losses, data):
    stop = data.draw(st.integers(0, len(losses)))
    optimizer, whole = make()
    resumed_optimizer, first = make()
    for epoch, loss in enumerate(losses):
        whole.observe(epoch, loss)
        if epoch < stop:
            first.observe(epoch, loss)
    _, second = make()
    second._plateau.optimizer = resumed_optimizer
    second.load_state_dict(first.state_dict())
    for epoch, loss in enumerate(losses[stop:], stop):
        second.observe(epoch, loss)
    assert second.state_dict() == whole.state_dict()
    assert lr_of(resumed_optimizer) == lr_of(optimizer)


def test_the_polynomial_decay_is_nnunet_s_and_never_stops():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.01)
    schedule = PolySchedule(optimizer, 0.01, 1000)
    for epoch in (0, 500, 999):
        schedule.step(epoch)
        assert lr_of(optimizer) == pytest.approx(0.01 * (1 - epoch / 1000) ** 0.9)
        assert not schedule.observe(epoch, 1.0)
    assert not schedule.should_stop and schedule.best_epoch is None


@pytest.mark.parametrize(("name", "kind"), [("plateau", PlateauSchedule), ("poly", PolySchedule)])
def test_the_recipe_chooses_the_schedule(name, kind):
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], 0.01)
    schedule = schedule_of(Recipe(schedule=name, initial_lr=0.01, epochs=4), optimizer)
    assert type(schedule) is kind
    schedule.step(3)
    assert lr_of(optimizer) == pytest.approx(0.01 if name == "plateau" else 0.01 * 0.25**0.9)


@pytest.mark.parametrize(("began_with", "asked_for"), [("plateau", "poly"), ("poly", "plateau")])
def test_a_training_does_not_go_on_with_another_schedule(began_with, asked_for):
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], 0.01)
    state = schedule_of(Recipe(schedule=began_with), optimizer).state_dict()
    going_on = SimpleNamespace(
        logger=SimpleNamespace(load_checkpoint=lambda _: None),
        optimizer=optimizer,
        grad_scaler=None,
        lr_scheduler=schedule_of(Recipe(schedule=asked_for), optimizer),
    )
    checkpoint = {
        "current_epoch": 1, "logging": {}, "_best_ema": None, "inference_allowed_mirroring_axes": (),
        "optimizer_state": optimizer.state_dict(), "resunet_ds": {"schedule": state, "finished": False},
    }  # fmt: skip
    with pytest.raises(InputError, match="another --schedule than this training began with"):
        restore_training_state(going_on, checkpoint)
