"""Build the paper's network (decisions D2, D3, D4): a residual U-Net with three heads and a salient-voxel channel."""

from collections.abc import Sequence
from typing import Any

import torch
from dynamic_network_architectures.building_blocks.plain_conv_encoder import PlainConvEncoder
from dynamic_network_architectures.building_blocks.residual import StackedResidualBlocks
from dynamic_network_architectures.building_blocks.residual_encoders import ResidualEncoder
from dynamic_network_architectures.building_blocks.simple_conv_blocks import StackedConvBlocks
from dynamic_network_architectures.initialization.weight_init import InitWeights_He, init_last_bn_before_add_to_0
from torch import Tensor, nn

NEGATIVE_SLOPE = 0.01
"""Of every leaky ReLU."""
KERNEL_SIZE = 3
CONVOLUTIONS_PER_BLOCK = 2
_BLOCK_SETTINGS: dict[str, Any] = {
    "conv_bias": True,
    "norm_op": nn.InstanceNorm3d,
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "nonlin": nn.LeakyReLU,
    "nonlin_kwargs": {"negative_slope": NEGATIVE_SLOPE, "inplace": True},
}


def salient_voxels(x: Tensor) -> Tensor:
    """Mark the voxels of the brain: 1 where any modality is non-zero, else 0.

    Args:
        x: normalised images (B, C, Z, Y, X) whose background is exactly 0, as nnU-Net's masked z-score leaves it.

    Returns:
        (B, 1, Z, Y, X) in the dtype of ``x``.
    """
    return (x != 0).any(dim=1, keepdim=True).to(x.dtype)


class Decoder(nn.Module):
    """Upsample, join the skip, convolve, level by level; segmentation heads on the finest levels only.

    ``seg_layers`` is ordered as computed, the finest head last: nnU-Net's names and order.
    """

    def __init__(
        self,
        features_per_stage: Sequence[int],
        strides: Sequence[Sequence[int]],
        num_classes: int,
        *,
        n_heads: int,
        residual: bool,
        deep_supervision: bool,
    ) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        levels = range(len(features_per_stage) - 2, -1, -1)
        self.transpconvs = nn.ModuleList(
            nn.ConvTranspose3d(
                features_per_stage[level + 1],
                features_per_stage[level],
                kernel_size=_three(strides[level + 1]),
                stride=_three(strides[level + 1]),
            )
            for level in levels
        )
        self.stages = nn.ModuleList(
            _block(2 * features_per_stage[level], features_per_stage[level], residual=residual) for level in levels
        )
        self.seg_layers = nn.ModuleList(
            nn.Conv3d(features_per_stage[level], num_classes, kernel_size=1) for level in levels[-n_heads:]
        )

    def forward(self, skips: list[Tensor]) -> Tensor | list[Tensor]:
        """Return the finest logits, or with deep supervision those of every head, the finest first.

        Args:
            skips: what each encoder stage returns, the finest first; the list is empty afterwards.
        """
        n_without_head = len(self.stages) - len(self.seg_layers)
        heads = [None] * n_without_head + list(self.seg_layers)
        x = skips.pop()  # each is let go as soon as it is joined: they are the largest tensors
        outputs = []
        for upsample, stage, head in zip(self.transpconvs, self.stages, heads, strict=True):
            x = stage(torch.cat((upsample(x), skips.pop()), dim=1))
            if head is not None and (self.deep_supervision or not skips):
                outputs.append(head(x))
        return outputs[::-1] if self.deep_supervision else outputs[0]


class ResUNetDS(nn.Module):
    """Residual U-Net with deep supervision, as nnU-Net builds it from the ``architecture`` entry of a plans file.

    Args:
        input_channels: image modalities; the salient channel is added inside and not counted here.
        num_classes: regions to segment, one logit map each.
        features_per_stage: channels of each encoder stage, finest first; as many stages as entries (at least two).
        strides: of each stage's first convolution, per axis, the first all ones; an input axis must be divisible by the
            product of its strides.
        n_heads: finest decoder levels that have a segmentation head.
        salient_channel: add the brain mask as an input channel.
        residual: residual blocks of two convolutions, or the same convolutions without the shortcut.
        deep_supervision: return the logits of every head as a list, finest first, instead of the finest alone.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        features_per_stage: Sequence[int],
        strides: Sequence[Sequence[int]],
        n_heads: int,
        salient_channel: bool = True,
        residual: bool = True,
        deep_supervision: bool = True,
    ) -> None:
        super().__init__()
        _check_shape(features_per_stage, strides, n_heads)
        self.salient_channel = salient_channel
        n_stages = len(features_per_stage)
        first_channels = input_channels + salient_channel
        common = (
            first_channels,
            n_stages,
            list(features_per_stage),
            nn.Conv3d,
            KERNEL_SIZE,
            [list(s) for s in strides],
        )
        if residual:
            self.encoder = ResidualEncoder(
                *common, n_blocks_per_stage=1, return_skips=True, disable_default_stem=True, **_BLOCK_SETTINGS
            )
        else:
            self.encoder = PlainConvEncoder(
                *common, n_conv_per_stage=CONVOLUTIONS_PER_BLOCK, return_skips=True, **_BLOCK_SETTINGS
            )
        self.decoder = Decoder(
            features_per_stage,
            strides,
            num_classes,
            n_heads=n_heads,
            residual=residual,
            deep_supervision=deep_supervision,
        )

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Map images (B, C, Z, Y, X) to logits (B, R, Z, Y, X), or to one such tensor a head, finest first."""
        if self.salient_channel:
            x = torch.cat((x, salient_voxels(x)), dim=1)
        logits: Tensor | list[Tensor] = self.decoder(self.encoder(x))
        return logits

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Initialise one module as nnU-Net's residual networks do; nnU-Net applies this to all of them."""
        InitWeights_He(NEGATIVE_SLOPE)(module)
        init_last_bn_before_add_to_0(module)


def _block(input_channels: int, output_channels: int, *, residual: bool) -> nn.Module:
    """Build one decoder block of two 3³ convolutions, with or without the shortcut."""
    blocks, stacked = (1, StackedResidualBlocks) if residual else (CONVOLUTIONS_PER_BLOCK, StackedConvBlocks)
    block: nn.Module = stacked(
        blocks, nn.Conv3d, input_channels, output_channels, KERNEL_SIZE, initial_stride=1, **_BLOCK_SETTINGS
    )
    return block


def _three(stride: Sequence[int]) -> tuple[int, int, int]:
    z, y, x = stride
    return z, y, x


def _check_shape(features_per_stage: Sequence[int], strides: Sequence[Sequence[int]], n_heads: int) -> None:
    n_stages = len(features_per_stage)
    if n_stages < 2 or len(strides) != n_stages:
        msg = f"need at least two stages and one stride each; got {n_stages} features and {len(strides)} strides"
        raise ValueError(msg)
    if not 1 <= n_heads <= n_stages - 1:
        msg = f"n_heads must be 1 to {n_stages - 1} for {n_stages} stages; got {n_heads}"
        raise ValueError(msg)
