"""Define the trainers of the systems that the paper compares with; only their network differs from ours."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from nnunet_resunet_ds.base.configurations import resolved_configuration
from nnunet_resunet_ds.experiments.comparison.monai_networks import WithReconstruction, monai_nets
from nnunet_resunet_ds.experiments.comparison.systems import (
    MONAI_NETWORKS,
    attention_unet_architecture,
    res_unet_vae_architecture,
    unet_architecture,
    unetr_architecture,
)
from nnunet_resunet_ds.plans import PAPER_FEATURES
from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.training.planning.adapted_plans import AdaptedPlans, obeyed_or_adapted, with_network

RECONSTRUCTION_WEIGHT = 0.1
"""Of the autoencoder branch's losses (Myronenko 2018)."""


class BraTSUNetTrainer(ResUNetDSTrainer):
    """The conventional U-Net: six stages of 32 to 320 channels, one output."""

    @staticmethod
    def architecture(patch_size: Sequence[int], width: float) -> dict[str, Any]:
        """Return the ``architecture`` of the plans; see `comparison.systems`."""
        return unet_architecture(patch_size, width)

    @classmethod
    def adapted_plans(cls, plans: Mapping[str, Any], configuration: str) -> AdaptedPlans:
        """Return the plans that would train our network, with this system's network of the same width instead."""
        adapted = obeyed_or_adapted(plans, configuration)
        settings = resolved_configuration(adapted.plans, configuration)
        width = settings["architecture"]["arch_kwargs"]["features_per_stage"][0] / PAPER_FEATURES[0]
        architecture = cls.architecture(settings["patch_size"], width)
        if architecture["network_class_name"].startswith(MONAI_NETWORKS):
            monai_nets()  # before there is a folder
        return with_network(adapted.plans, configuration, architecture)

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Do nothing: there is one output."""


class BraTSResUNetVAETrainer(BraTSUNetTrainer):
    """The residual U-Net with an autoencoder branch, which won BraTS 2018."""

    @staticmethod
    def architecture(patch_size: Sequence[int], width: float) -> dict[str, Any]:
        """Return the ``architecture`` of the plans."""
        return res_unet_vae_architecture(patch_size, width)

    def _build_loss(self) -> nn.Module:
        """Return the loss of all systems, with 0.1 · (reconstruction + KL divergence) in training."""
        return WithReconstruction(super()._build_loss(), RECONSTRUCTION_WEIGHT)


class BraTSAttentionUNetTrainer(BraTSUNetTrainer):
    """The U-Net with attention gates on its skips."""

    @staticmethod
    def architecture(patch_size: Sequence[int], width: float) -> dict[str, Any]:
        """Return the ``architecture`` of the plans."""
        return attention_unet_architecture(patch_size, width)


class BraTSUNETRTrainer(BraTSUNetTrainer):
    """UNETR: a vision transformer as encoder."""

    @staticmethod
    def architecture(patch_size: Sequence[int], width: float) -> dict[str, Any]:
        """Return the ``architecture`` of the plans."""
        return unetr_architecture(patch_size, width)
