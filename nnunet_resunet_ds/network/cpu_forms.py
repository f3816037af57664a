"""Compute the blocks of the network on a CPU: exactly, without layout copies, in place where no gradient is wanted."""

from collections.abc import Sequence
from typing import Any

import torch
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from torch import Tensor, nn
from torch.nn import functional as F

from nnunet_resunet_ds.base.switches import AVERAGE_POOLING, INSTANCE_NORM, is_taken
from nnunet_resunet_ds.network import plain
from nnunet_resunet_ds.network.plain import added_and_activated, check_voxels

BLOCK_VOXELS = 16384
"""Voxels at a time: a few MiB, which stay in the processor's cache from one operation to the next."""

upsample_and_join = plain.upsample_and_join


def conv_norm(
    unit: ConvDropoutNormReLU, x: Tensor, slope: float | None = None, residual: Tensor | None = None
) -> Tensor:
    """Convolve, normalise, add and activate; see `nnunet_resunet_ds.network.forms.Form`."""
    return normalised(unit.conv(x), unit.norm, slope, residual)


def normalised(
    y: Tensor, norm: nn.InstanceNorm3d, slope: float | None = None, residual: Tensor | None = None
) -> Tensor:
    """Normalise (B, C, Z, Y, X), add and activate; without gradients in place, for nothing else reads ``y``.

    PyTorch's own copies a channels-last tensor on the way in and out. Here blocks of voxels are added up, and these
    sums in fp64.

    Args:
        y: the output of a convolution.
        norm: with parameters, without running statistics.
        slope: of the leaky ReLU; None for no activation.
        residual: what to add before it, of the shape of ``y``.
    """
    check_voxels(y)
    in_blocks = y.dtype == torch.float32 and y.is_contiguous(memory_format=torch.channels_last_3d)
    if not in_blocks or not is_taken(INSTANCE_NORM):
        return added_and_activated(_by_group_norm(y, norm), slope, residual)
    if residual is not None:
        residual = residual.contiguous(memory_format=torch.channels_last_3d)
    if torch.is_grad_enabled():
        normalised_y: Tensor = _InstanceNorm.apply(y, norm.weight, norm.bias, norm.eps)
        return added_and_activated(normalised_y, slope, residual)
    for image, shortcut in zip(y, [None] * len(y) if residual is None else residual, strict=True):
        _normalise(image, *_moments(image, norm.eps), norm.weight, norm.bias, image, slope, shortcut)
    return y


def _by_group_norm(y: Tensor, norm: nn.InstanceNorm3d) -> Tensor:
    """Normalise by PyTorch's group norm, in the layout of the input.

    Its kernel for channels last adds up the voxels one by one in fp32: at 128³ results are off by 2e-3. Half formats
    are no more exact than that; fp32 is made contiguous for it. PyTorch's instance norm is never taken: its gradient
    is wrong for a single image and a channels-last gradient (PyTorch 2.14, on a CPU).
    """
    is_exact = y.dtype != torch.float32 or y.is_contiguous()
    x = y if is_exact else y.contiguous()
    x = F.group_norm(x, norm.num_features, norm.weight, norm.bias, norm.eps)
    return x if is_exact else x.contiguous(memory_format=torch.channels_last_3d)


class _InstanceNorm(torch.autograd.Function):
    """Instance norm with its gradient."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:  # noqa: ANN401
        moments = [_moments(image, eps) for image in x]
        out = torch.empty_like(x)
        for image, (mean, scale), result in zip(x, moments, out, strict=True):
            _normalise(image, mean, scale, weight, bias, result)
        context.moments = moments
        context.save_for_backward(x, weight)
        return out

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # noqa: ANN401
        x, weight = context.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        of_x, of_weight, of_bias = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(weight)
        for image, along, (mean, scale), result in zip(x, gradient, context.moments, of_x, strict=True):
            sum_g, sum_gx = _gradient_sums(image, along, mean, scale)
            of_weight += sum_gx
            of_bias += sum_g
            _gradient_of_input(image, along, mean, scale, weight, sum_g, sum_gx, result)
        return of_x, of_weight, of_bias, None


def _blocks(image: Tensor) -> tuple[Tensor, ...]:
    """Return views (V, C) of an image (C, Z, Y, X) that is channels last."""
    return torch.split(image.permute(1, 2, 3, 0).view(-1, len(image)), BLOCK_VOXELS)


def _sum(block: Tensor) -> Tensor:
    """Return the sum (C) over the voxels of a block (V, C): a matrix product, which is the fastest way to add."""
    return block.new_ones(1, len(block)).mm(block)[0]


def _total(sums: list[Tensor]) -> Tensor:
    """Return the sum of what blocks have summed up, in fp64 on the way."""
    return torch.stack(sums).sum(dim=0, dtype=torch.float64).float()


def _moments(image: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return mean (C) and one over the standard deviation (C) of an image (C, Z, Y, X)."""
    blocks, n_voxels = _blocks(image), image[0].numel()
    mean = _total([_sum(block) for block in blocks]) / n_voxels
    buffer = torch.empty_like(blocks[0])
    squares = [_sum(torch.sub(block, mean, out=buffer[: len(block)]).square_()) for block in blocks]
    return mean, (_total(squares) / n_voxels + eps).rsqrt()


def _normalise(
    image: Tensor,
    mean: Tensor,
    scale: Tensor,
    weight: Tensor,
    bias: Tensor,
    out: Tensor,
    slope: float | None = None,
    residual: Tensor | None = None,
) -> None:
    """Normalise an image, add and activate, one block after the other while it is in the cache."""
    factor = weight * scale
    shift = bias - factor * mean
    blocks, targets = _blocks(image), _blocks(out)
    added = [None] * len(blocks) if residual is None else _blocks(residual)
    for block, target, shortcut in zip(blocks, targets, added, strict=True):
        added_and_activated(torch.addcmul(shift, block, factor, out=target), slope, shortcut)


def _gradient_sums(image: Tensor, gradient: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums (C) over voxels of g and of g·x̂, where x̂ is x less its mean, times its scale."""
    pairs = list(zip(_blocks(image), _blocks(gradient), strict=True))
    buffer = torch.empty_like(pairs[0][0])
    centred = (torch.sub(block, mean, out=buffer[: len(block)]).mul_(along) for block, along in pairs)
    return _total([_sum(along) for _, along in pairs]), _total(list(map(_sum, centred))) * scale


def _gradient_of_input(
    image: Tensor,
    gradient: Tensor,
    mean: Tensor,
    scale: Tensor,
    weight: Tensor,
    sum_g: Tensor,
    sum_gx: Tensor,
    out: Tensor,
) -> None:
    """Write w·s·(g − Σg/n − x̂·Σg·x̂/n), with s the scale and n voxels."""
    n_voxels = image[0].numel()
    factor = weight * scale
    slope = -factor * scale * sum_gx / n_voxels
    shift = -factor * sum_g / n_voxels - slope * mean
    for block, along, target in zip(_blocks(image), _blocks(gradient), _blocks(out), strict=True):
        torch.addcmul(shift, block, slope, out=target).addcmul_(along, factor)


def average_pool(x: Tensor, window: Sequence[int]) -> Tensor:
    """Average over windows that do not overlap, within planes first, then across them.

    PyTorch's own copies a channels-last tensor on the way in and out, and cannot do bf16 on a CPU. Voxels beyond the
    last whole window are left out.
    """
    if x.dtype == torch.float32 and not is_taken(AVERAGE_POOLING):
        return plain.average_pool(x, window)
    depth, height, width = window
    planes = x.transpose(1, 2).flatten(0, 1)  # (B·Z, C, Y, X): a view
    pooled = torch.unflatten(F.avg_pool2d(planes, (height, width)), 0, (len(x), -1))
    n_windows = pooled.shape[1] // depth
    windows = torch.unflatten(pooled[:, : n_windows * depth], 1, (n_windows, depth))
    return windows.mean(dim=2).transpose(1, 2)
