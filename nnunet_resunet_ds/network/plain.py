"""Compute the blocks of the network by PyTorch's own operations: on every device, under torch.compile, in export."""

from collections.abc import Sequence

import torch
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from torch import Tensor, nn
from torch.nn import functional as F


def conv_norm(
    unit: ConvDropoutNormReLU, x: Tensor, slope: float | None = None, residual: Tensor | None = None
) -> Tensor:
    """Convolve, normalise, add and activate; see `nnunet_resunet_ds.network.forms.Form`."""
    return added_and_activated(unit.norm(convolve(unit.conv, x)), slope, residual)


def convolve(conv: nn.Conv3d, x: Tensor) -> Tensor:
    """Convolve in the layout of the input, whatever that of the weights is."""
    return F.conv3d(x, _weight(conv, x), conv.bias, conv.stride, conv.padding)


def added_and_activated(y: Tensor, slope: float | None, residual: Tensor | None) -> Tensor:
    """Add and activate in place, where there is something to add or a slope of a leaky ReLU."""
    if residual is not None:
        y = y.add_(residual)
    return y if slope is None else F.leaky_relu_(y, slope)


def check_voxels(y: Tensor) -> None:
    """Refuse to normalise one voxel, which gives 0 whatever it holds.

    Raises:
        ValueError: (B, C, Z, Y, X) has one voxel; PyTorch's instance norm says the same.
    """
    if y.shape[2:].numel() == 1:
        msg = f"expected more than 1 spatial element to normalise; got input of shape {tuple(y.shape)}"
        raise ValueError(msg)


def average_pool(x: Tensor, window: Sequence[int]) -> Tensor:
    """Average over windows that do not overlap; voxels beyond the last whole window are left out."""
    return F.avg_pool3d(x, list(window), list(window))


def upsample_and_join(conv: nn.ConvTranspose3d, x: Tensor, skip: Tensor) -> Tensor:
    """Return (upsampled, skip), joined along the channels."""
    return torch.cat((F.conv_transpose3d(x, _weight(conv, x), conv.bias, conv.stride), skip), dim=1)


def _weight(conv: nn.Conv3d | nn.ConvTranspose3d, x: Tensor) -> Tensor:
    """Return the weights in the layout of the input, which decides that of the result."""
    return conv.weight.contiguous() if x.is_contiguous() else conv.weight
