"""Decide when the learning rate drops, which epoch is the best, and when training stops (decision D7)."""

from typing import Any

from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from nnunet_resunet_ds.training.planning.recipe import POLY, Recipe

MIN_IMPROVEMENT = 1e-4
"""A loss improves when it is below the best one times 1 minus this."""


class PlateauSchedule:
    """Lower the learning rate when the validation loss does not improve, and stop when it has not for longer.

    Both follow one rule of what an improvement is.

    Args:
        optimizer: has the learning rate.
        factor: on the learning rate, below 1.
        patience: epochs without improvement before the learning rate drops: one more lowers it (PyTorch's meaning).
        stopping_patience: epochs in a row without improvement after which training stops.
    """

    def __init__(self, optimizer: Optimizer, *, factor: float, patience: int, stopping_patience: int) -> None:
        self._plateau = ReduceLROnPlateau(
            optimizer, "min", factor=factor, patience=patience, threshold=MIN_IMPROVEMENT, threshold_mode="rel"
        )
        self._stopping_patience = stopping_patience
        self.best_epoch: int | None = None
        self.epochs_without_improvement = 0

    @property
    def best_loss(self) -> float:
        """The lowest loss by the rule; infinite before the first."""
        return float(self._plateau.best)

    @property
    def should_stop(self) -> bool:
        """Whether the loss has not improved for `stopping_patience` epochs."""
        return self.epochs_without_improvement >= self._stopping_patience

    def step(self, epoch: int) -> None:
        """Do nothing: nnU-Net calls this before an epoch, and only a loss can move this schedule."""

    def observe(self, epoch: int, loss: float) -> bool:
        """Take note of an epoch's validation loss and tell whether it improved."""
        best_before = self._plateau.best
        self._plateau.step(loss)
        if self._plateau.best != best_before:
            self.best_epoch, self.epochs_without_improvement = epoch, 0
            return True
        self.epochs_without_improvement += 1
        return False

    def state_dict(self) -> dict[str, Any]:
        """Return what has been observed, as plain values; the learning rate itself is the optimiser's state."""
        return {
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "bad_epochs_of_plateau": self._plateau.num_bad_epochs,
            "epochs_without_improvement": self.epochs_without_improvement,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._plateau.best = state["best_loss"]
        self._plateau.num_bad_epochs = state["bad_epochs_of_plateau"]
        self.best_epoch = state["best_epoch"]
        self.epochs_without_improvement = state["epochs_without_improvement"]


class PolySchedule(PolyLRScheduler):  # type: ignore[misc]  # nnU-Net ships no types
    """nnU-Net's own polynomial decay, by the epoch alone: no best epoch, no early stop, the last weights are final."""

    best_epoch: int | None = None
    should_stop = False

    def observe(self, epoch: int, loss: float) -> bool:
        """Take no note of losses."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the epoch says it all."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""


def schedule_of(recipe: Recipe, optimizer: Optimizer) -> PlateauSchedule | PolySchedule:
    """Return the schedule of a recipe, for the optimiser that it moves."""
    if recipe.schedule == POLY:
        return PolySchedule(optimizer, recipe.initial_lr, recipe.epochs)
    return PlateauSchedule(
        optimizer,
        factor=recipe.plateau_factor,
        patience=recipe.plateau_patience,
        stopping_patience=recipe.stopping_patience,
    )
