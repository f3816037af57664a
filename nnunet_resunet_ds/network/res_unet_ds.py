"""Build the paper's network (decisions D2, D3, D4): a residual U-Net with three heads and a salient-voxel channel."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from dynamic_network_architectures.initialization.weight_init import InitWeights_He, init_last_bn_before_add_to_0
from torch import Tensor, nn

from nnunet_resunet_ds.base.switches import CHANNELS_LAST, is_taken
from nnunet_resunet_ds.network.blocks import NEGATIVE_SLOPE, PlainStage, ResidualStage
from nnunet_resunet_ds.network.forms import form_of, laid_out
from nnunet_resunet_ds.network.plain import convolve

_STRIDE_1 = (1, 1, 1)
SALIENT_ABOVE = 0.01
"""Absolute value above which a voxel is brain (decision D4), in standard deviations, as images are z-scored.

It is not 0: cubic resampling rings into the zero background, mostly by less than this. It is not larger: a brain voxel
must stay above it in one channel at least, and of 1.3 million in real cases at 1 mm, none lies below in all four."""


def salient_voxels(x: Tensor) -> Tensor:
    """Mark the voxels of the brain: 1 where any modality is above `SALIENT_ABOVE` in absolute value, else 0.

    Args:
        x: normalised images (B, C, Z, Y, X). Their background is 0, as nnU-Net's masked z-score leaves it, or near 0
            where the images were resampled after that.

    Returns:
        (B, 1, Z, Y, X) in the dtype of ``x``.
    """
    return (x.abs() > SALIENT_ABOVE).any(dim=1, keepdim=True).to(x.dtype)


class Encoder(nn.Module):
    """Convolve and go down a level, stage by stage."""

    def __init__(
        self,
        input_channels: int,
        features_per_stage: Sequence[int],
        strides: Sequence[Sequence[int]],
        *,
        residual: bool,
    ) -> None:
        super().__init__()
        channels = zip((input_channels, *features_per_stage), features_per_stage, strides, strict=False)
        self.stages = nn.Sequential(
            *(ResidualStage(*shape) if residual else nn.Sequential(PlainStage(*shape)) for shape in channels)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return what each stage returns, the finest first."""
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs


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
        stage = ResidualStage if residual else PlainStage
        self.stages = nn.ModuleList(
            stage(2 * features_per_stage[level], features_per_stage[level], _STRIDE_1) for level in levels
        )
        self.seg_layers = nn.ModuleList(
            nn.Conv3d(features_per_stage[level], num_classes, kernel_size=1) for level in levels[-n_heads:]
        )

    def forward(self, skips: list[Tensor]) -> Tensor | list[Tensor]:
        """Return the finest logits, or with deep supervision those of every head, the finest first.

        Args:
            skips: what each encoder stage returns, the finest first; the list is empty afterwards.
        """
        x = skips.pop()  # each is let go as soon as it is joined: they are the largest tensors
        outputs = []
        for upsample, stage, head in self._levels():
            x = stage(form_of(x).upsample_and_join(upsample, x, skips.pop()))
            if head is not None and (self.deep_supervision or not skips):
                outputs.append(convolve(head, x))
        return outputs[::-1] if self.deep_supervision else outputs[0]

    def _levels(self) -> Iterator[tuple[Any, Any, Any]]:
        """Return upsampling, stage and head, or None where there is none, of each level, the finest last."""
        n_without_head = len(self.stages) - len(self.seg_layers)
        heads = [None] * n_without_head + list(self.seg_layers)
        return zip(self.transpconvs, self.stages, heads, strict=True)


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
        self.encoder = Encoder(input_channels + salient_channel, features_per_stage, strides, residual=residual)
        self.decoder = Decoder(
            features_per_stage,
            strides,
            num_classes,
            n_heads=n_heads,
            residual=residual,
            deep_supervision=deep_supervision,
        )
        self._channels_last = is_taken(CHANNELS_LAST)
        _lay_out(self)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """Map images (B, C, Z, Y, X) to logits (B, R, Z, Y, X), or to one such tensor a head, finest first."""
        if self.salient_channel:
            x = torch.cat((x, salient_voxels(x)), dim=1)
        x = laid_out(x, channels_last=self._channels_last)  # now, for joining a channel undoes it
        logits: Tensor | list[Tensor] = self.decoder(self.encoder(x))
        return logits

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Initialise one module as nnU-Net's residual networks do; nnU-Net applies this to all of them."""
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.to(memory_format=torch.contiguous_format)  # random numbers fill this faster, and in nnU-Net's order
        InitWeights_He(NEGATIVE_SLOPE)(module)
        init_last_bn_before_add_to_0(module)
        _lay_out(module)


def _lay_out(module: nn.Module) -> None:
    """Bring weights into the layout that convolutions compute fastest in; names and values stay."""
    if is_taken(CHANNELS_LAST):
        module.to(memory_format=torch.channels_last_3d)


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
