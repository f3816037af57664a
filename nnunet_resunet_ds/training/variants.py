"""Trainers that differ from `ResUNetDSTrainer` in one factor each, for ablations; names follow nnU-Net's own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from nnunet_resunet_ds.plans import NNUNET_FEATURES, WIDE_FEATURES
from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.training.recipe import Recipe
from nnunet_resunet_ds.training.schedule import PolySchedule

SGD_MOMENTUM = 0.99
SGD_DEFAULTS: Mapping[str, Any] = {"initial_lr": 1e-2, "weight_decay": 3e-5, "epochs": 1000}
"""nnU-Net's own recipe."""


class ResUNetDSTrainerNoDeepSupervision(ResUNetDSTrainer):
    """One head, at full resolution; the others are not even built."""

    architecture_changes = {"n_heads": 1}  # noqa: RUF012 (a ClassVar in the base class)


class ResUNetDSTrainerNoSalientChannel(ResUNetDSTrainer):
    """The network does not get the brain mask; data whose background is not zero can be trained with it."""

    architecture_changes = {"salient_channel": False}  # noqa: RUF012


class ResUNetDSTrainerNoResidual(ResUNetDSTrainer):
    """The same convolutions without shortcuts."""

    architecture_changes = {"residual": False}  # noqa: RUF012


class ResUNetDSTrainerDepth6(ResUNetDSTrainer):
    """Six stages of 32 to 320 channels, nnU-Net's."""

    architecture_changes = {"features_per_stage": NNUNET_FEATURES}  # noqa: RUF012


class ResUNetDSTrainerDepth6Wide(ResUNetDSTrainer):
    """Six stages of 64 to 512 channels: the paper's width without its depth."""

    architecture_changes = {"features_per_stage": WIDE_FEATURES}  # noqa: RUF012


class ResUNetDSTrainerBCE(ResUNetDSTrainer):
    """Binary cross-entropy in place of focal loss, which it is at γ = 0."""

    @classmethod
    def recipe_from(cls, plans: Mapping[str, Any]) -> Recipe:
        """Return the recipe of the plans with γ = 0."""
        return replace(super().recipe_from(plans), gamma=0.0)


class ResUNetDSTrainerSGD(ResUNetDSTrainer):
    """nnU-Net's own optimiser and schedule: SGD with momentum, polynomial decay to the last epoch, no early stop.

    Learning rate, weight decay and number of epochs are nnU-Net's, too, where the plans do not set them.
    """

    @classmethod
    def recipe_from(cls, plans: Mapping[str, Any]) -> Recipe:
        """Return the recipe of the plans, with nnU-Net's defaults."""
        return Recipe.from_plans(plans, **SGD_DEFAULTS)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolySchedule]:
        """Return SGD and polynomial decay."""
        optimizer = torch.optim.SGD(
            self.laid_out_network().parameters(),
            self.initial_lr,
            weight_decay=self.weight_decay,
            momentum=SGD_MOMENTUM,
            nesterov=True,
        )
        return optimizer, PolySchedule(optimizer, self.initial_lr, self.num_epochs)
