"""Wrap MONAI's networks as nnU-Net builds them from plans: logits out, for a patch of any size.

MONAI is imported when a network is built, so that the trainers can be found without it.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from packaging.version import Version
from torch import Tensor, nn
from torch.nn import functional as F

from nnunet_resunet_ds.base.errors import InputError

MIN_MONAI = "1.4"
"""The first version whose UNETR takes ``proj_type``."""


def monai_nets() -> ModuleType:
    """Return ``monai.networks.nets``.

    Raises:
        InputError: MONAI is missing or too old.
    """
    remedy = "pip install 'nnunet-resunet-ds[comparison]'"
    try:
        import monai  # noqa: PLC0415 (an extra)
        from monai.networks import nets  # noqa: PLC0415
    except ImportError as error:
        msg = f"this system is MONAI's, which is not installed: {remedy}"
        raise InputError(msg) from error
    if Version(monai.__version__) < Version(MIN_MONAI):
        msg = f"this system needs MONAI {MIN_MONAI} or newer, and {monai.__version__} is installed: {remedy}"
        raise InputError(msg)
    return nets


class _PaddedNetwork(nn.Module):
    """Take inputs of any size in a network that halves them: add zeros at the end, and cut them off again."""

    def __init__(self, multiple: int) -> None:
        super().__init__()
        self.multiple = multiple

    def padded(self, x: Tensor) -> Tensor:
        """Return (B, C, Z, Y, X) with every axis at the next multiple; 0 is the background after normalisation."""
        missing = [-length % self.multiple for length in x.shape[2:]]
        return F.pad(x, [pad for axis in reversed(missing) for pad in (0, axis)]) if any(missing) else x

    @staticmethod
    def like(logits: Tensor, x: Tensor) -> Tensor:
        """Return logits cut to the size of the input."""
        depth, height, width = x.shape[2:]
        return logits[..., :depth, :height, :width]


class ResUNetVAE(_PaddedNetwork):
    """`monai.networks.nets.SegResNetVAE`: residual encoder, decoder, and in training a branch that rebuilds the input.

    Args:
        input_channels: modalities.
        num_classes: regions.
        patch_size: of training; the branch is made for this size alone, prediction takes any.
        init_filters: channels of the first level.
        latent: length of the code from which the input is rebuilt.
        deep_supervision: not used; nnU-Net passes it to every network.
    """

    LEVELS = (1, 2, 2, 4)
    """Residual blocks of each encoder level, as the winner of BraTS 2018 had."""

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        patch_size: Sequence[int],
        init_filters: int,
        latent: int,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__(multiple=2 ** len(self.LEVELS))
        self.net = monai_nets().SegResNetVAE(
            [length + -length % self.multiple for length in patch_size],
            vae_estimate_std=True,
            vae_nz=latent,
            init_filters=init_filters,
            in_channels=input_channels,
            out_channels=num_classes,
            blocks_down=self.LEVELS,
        )

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits; in training also reconstruction loss plus KL divergence."""
        logits, vae_loss = self.net(self.padded(x).contiguous())
        return (self.like(logits, x), vae_loss) if self.training else self.like(logits, x)


class AttentionUNet(_PaddedNetwork):
    """`monai.networks.nets.AttentionUnet`: a U-Net with attention gates on its skips.

    Args:
        input_channels: modalities.
        num_classes: regions.
        features_per_stage: channels of each level; each halves all axes of the one before.
        deep_supervision: not used.
    """

    def __init__(
        self, input_channels: int, num_classes: int, features_per_stage: Sequence[int], deep_supervision: bool = False
    ) -> None:
        n_halvings = len(features_per_stage) - 1
        super().__init__(multiple=2**n_halvings)
        self.net = monai_nets().AttentionUnet(
            3, input_channels, num_classes, channels=list(features_per_stage), strides=[2] * n_halvings
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.net(self.padded(x))
        return self.like(logits, x)


class UNETR(nn.Module):
    """`monai.networks.nets.UNETR`: a vision transformer as encoder, for patches of one size.

    Args:
        input_channels: modalities.
        num_classes: regions.
        patch_size: of training; the network takes no other.
        hidden_size: length of the embedding of a token of 16³ voxels.
        feature_size: channels of the finest decoder level.
        num_heads: attention heads.
        deep_supervision: not used.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        patch_size: Sequence[int],
        hidden_size: int,
        feature_size: int,
        num_heads: int,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        self.net = monai_nets().UNETR(
            input_channels,
            num_classes,
            list(patch_size),
            feature_size=feature_size,
            hidden_size=hidden_size,
            mlp_dim=4 * hidden_size,
            num_heads=num_heads,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.net(x)
        return logits


class WithReconstruction(nn.Module):
    """Add the losses of `ResUNetVAE`'s reconstruction to another loss, in training.

    Args:
        loss: of logits and target.
        weight: of reconstruction and KL divergence.
    """

    def __init__(self, loss: nn.Module, weight: float) -> None:
        super().__init__()
        self.loss = loss
        self.weight = weight

    def forward(self, output: Tensor | tuple[Tensor, Tensor], target: Any) -> Tensor:  # noqa: ANN401 (as nnU-Net's)
        """Return a scalar."""
        if isinstance(output, Tensor):
            return torch.as_tensor(self.loss(output, target))
        logits, reconstruction = output
        return torch.as_tensor(self.loss(logits, target) + self.weight * reconstruction)
