"""Normalise channels-last tensors on a CPU: exactly, without copies, and in place where the input is not needed."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BLOCK_VOXELS = 16384
"""Voxels at a time: a few MiB, which stay in the processor's cache from one operation to the next."""


class BlockwiseInstanceNorm3d(nn.InstanceNorm3d):
    """`torch.nn.InstanceNorm3d` with parameters and without running statistics, of the same state dict.

    PyTorch's own copies a channels-last tensor on the way in and out. Its group norm has a kernel for channels last,
    which adds up the voxels one by one in fp32: at 128³ its results are off by 2e-3. Here blocks of voxels are added
    up, and these sums in fp64.

    Attributes:
        overwrites: where no gradient is wanted, write the result over the input; for the output of a convolution, which
            nothing else reads.
    """

    overwrites = False

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel of (B, C, Z, Y, X).

        Raises:
            ValueError: there is one voxel, whose normalised value would be 0 whatever it holds.
        """
        if x.shape[2:].numel() == 1:
            msg = f"expected more than one voxel a channel to normalise; got input of shape {tuple(x.shape)}"
            raise ValueError(msg)
        if not _has_blocks(x):
            return F.group_norm(x, self.num_features, self.weight, self.bias, self.eps)
        if torch.is_grad_enabled():
            normalised: Tensor = _InstanceNorm.apply(x, self.weight, self.bias, self.eps)
            return normalised
        out = x if self.overwrites else torch.empty_like(x)
        for image, result in zip(x, out, strict=True):
            _normalise(image, *_moments(image, self.eps), self.weight, self.bias, result)
        return out


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


def _has_blocks(x: Tensor) -> bool:
    return (
        not torch.compiler.is_compiling()  # which writes a kernel of its own
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.is_contiguous(memory_format=torch.channels_last_3d)
    )


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


def _normalise(image: Tensor, mean: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> None:
    factor = weight * scale
    shift = bias - factor * mean
    for block, target in zip(_blocks(image), _blocks(out), strict=True):
        torch.addcmul(shift, block, factor, out=target)


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
