"""Compute the blocks of the network by fused Triton kernels on channels-last tensors: the form for GPUs.

Each function agrees with the plain form up to rounding, in value and gradient. A convolution in front of an instance
norm goes without its bias: the norm takes it away again, so that its gradient is 0.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from triton import language as tl

from nnunet_resunet_ds.network import triton_kernels as kernels
from nnunet_resunet_ds.network.plain import check_voxels

LAST = torch.channels_last_3d
_BLOCK_ELEMENTS = 4096
"""Of a program at a time: 64 voxels of 64 channels."""
_MAX_COLUMNS = 64
_MIN_COLUMNS = 16
"""A block of so many channels in fp16 is one sector of a GPU's memory."""
_MAX_GROUP = 8
"""Channels that a thread may load at once: 16 bytes of fp16, the most there is."""
_PROGRAMS = 4096
"""That add up voxels: many for each multiprocessor of a large GPU, so that few are left for the end."""
_MERGED_PARTS, _MERGED_COLUMNS = 256, 16

Three = tuple[int, int, int]


class Blocks(NamedTuple):
    """How the matrix of a sample, a row a voxel and a column a channel, is cut for programs."""

    rows: int
    columns: int
    group: int
    """Channels that come together: a power of 2 that divides them."""
    n_groups: int

    @classmethod
    def of(cls, n_channels: int) -> "Blocks":
        """Return blocks that fill whole columns where they can."""
        columns = _MAX_COLUMNS
        while columns > _MIN_COLUMNS and n_channels % columns:
            columns //= 2
        columns = min(columns if n_channels % columns == 0 else _MAX_COLUMNS, triton.next_power_of_2(n_channels))
        group = math.gcd(n_channels, _MAX_GROUP)
        elements = _BLOCK_ELEMENTS * group // _MAX_GROUP  # with an address each they would not fit into registers
        return cls(elements // columns, columns, group, n_channels // group)

    @property
    def constants(self) -> dict[str, int]:
        """What a kernel is compiled for."""
        return {"GROUP": self.group, "BR": self.rows, "BC": self.columns}

    def grid(self, n_rows: int, n_channels: int, n_samples: int) -> Three:
        """Return the programs of a kernel that visits everything once."""
        return triton.cdiv(n_rows, self.rows), triton.cdiv(n_channels, self.columns), n_samples


def conv_norm(
    unit: ConvDropoutNormReLU, x: Tensor, slope: float | None = None, residual: Tensor | None = None
) -> Tensor:
    """Convolve, normalise, add and activate; see `nnunet_resunet_ds.network.forms.Form`."""
    conv, norm = unit.conv, unit.norm
    y = F.conv3d(x, conv.weight, None, conv.stride, conv.padding)
    return normalised(y, norm, slope, residual, conv.bias)


def normalised(
    x: Tensor,
    norm: nn.InstanceNorm3d,
    slope: float | None = None,
    residual: Tensor | None = None,
    cancelled_bias: Tensor | None = None,
) -> Tensor:
    """Normalise (B, C, Z, Y, X), add, activate; without gradients in place, for nothing else reads ``x``.

    Args:
        x: the output of a convolution.
        norm: with parameters, without running statistics.
        slope: of the leaky ReLU; None for no activation.
        residual: what to add before it, of the shape of ``x``.
        cancelled_bias: gets a gradient of 0, so that DistributedDataParallel sees every parameter used.
    """
    check_voxels(x)
    x = x.contiguous(memory_format=LAST)
    if residual is not None:
        residual = residual.contiguous(memory_format=LAST)
    if torch.is_grad_enabled():
        result: Tensor = _Normalised.apply(x, norm.weight, norm.bias, residual, cancelled_bias, norm.eps, slope)
        return result
    mean, scale = moments(x, norm.eps)
    return _normalise(x, mean, scale, norm.weight, norm.bias, residual, slope, out=x)


class _Normalised(torch.autograd.Function):
    """Instance norm, sum and activation with their gradients."""

    @staticmethod
    def forward(
        context: Any,  # noqa: ANN401
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        residual: Tensor | None,
        cancelled_bias: Tensor | None,
        eps: float,
        slope: float | None,
    ) -> Tensor:
        mean, scale = moments(x, eps)
        out = _normalise(x, mean, scale, weight, bias, residual, slope, out=torch.empty_like(x))
        # where nothing is activated, the gradient does not ask for the result: it need not be kept
        context.save_for_backward(x, x if slope is None else out, weight, mean, scale)
        context.slope, context.adds = slope, residual is not None
        context.cancelled_like = cancelled_bias
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, out, weight, mean, scale = context.saved_tensors
        gradient = gradient.contiguous(memory_format=LAST)
        sums = _gradient_sums(gradient, out, x, mean, scale, context.slope)
        of_x = torch.empty_like(x)
        of_residual = torch.empty_like(x) if context.adds else None
        _gradient_of_input(gradient, out, x, mean, scale, weight, sums, of_x, of_residual, context.slope)
        of_bias, of_weight = sums.sum(1).to(weight.dtype)
        of_cancelled = None if context.cancelled_like is None else torch.zeros_like(context.cancelled_like)
        return of_x, of_weight, of_bias, of_residual, of_cancelled, None, None


def moments(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return mean and one over the standard deviation, each (B, C), of a channels-last tensor (B, C, Z, Y, X).

    Blocks of voxels are taken about their own mean and joined, so that a large mean costs no digits.
    """
    n_samples, n_channels, n_voxels = len(x), x.shape[1], x[0, 0].numel()
    blocks, rows_a_program, n_parts = _parts(n_samples, n_channels, n_voxels)
    parts = x.new_empty((2, n_samples, n_parts, n_channels), dtype=_dtype_of_sums(x))
    mean, scale = x.new_empty((2, n_samples, n_channels), dtype=parts.dtype)
    grid = (n_parts, triton.cdiv(n_channels, blocks.columns), n_samples)
    kernels.moments_of_parts[grid](
        x, parts[0], parts[1], n_voxels, blocks.n_groups, rows_a_program, ACC=_acc(x), **blocks.constants
    )
    kernels.moments_of_image[(1, triton.cdiv(n_channels, _MERGED_COLUMNS), n_samples)](
        parts[0], parts[1], mean, scale, eps, n_voxels, blocks.n_groups, rows_a_program, n_parts,
        GROUP=blocks.group, ACC=_acc(x), BR=_MERGED_PARTS, BC=_MERGED_COLUMNS,
    )  # fmt: skip
    return mean, scale


def _parts(n_samples: int, n_channels: int, n_voxels: int) -> tuple[Blocks, int, int]:
    """Return blocks, voxels a program and the number of programs that share the voxels of a sample."""
    blocks = Blocks.of(n_channels)
    most = max(1, _PROGRAMS // (n_samples * triton.cdiv(n_channels, blocks.columns)))
    rows_a_program = triton.cdiv(triton.cdiv(n_voxels, blocks.rows), most) * blocks.rows
    return blocks, rows_a_program, triton.cdiv(n_voxels, rows_a_program)


def _dtype_of_sums(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _acc(x: Tensor) -> tl.dtype:
    return tl.float64 if x.dtype == torch.float64 else tl.float32


def _normalise(
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    weight: Tensor,
    bias: Tensor,
    residual: Tensor | None,
    slope: float | None,
    out: Tensor,
) -> Tensor:
    n_voxels, n_channels, blocks = x[0, 0].numel(), x.shape[1], Blocks.of(x.shape[1])
    kernels.normalise[blocks.grid(n_voxels, n_channels, len(x))](
        x, x if residual is None else residual, out, mean, scale, weight, bias, n_voxels, blocks.n_groups, slope or 0.0,
        ADDS=residual is not None, ACTIVATES=slope is not None, ACC=_acc(x), **blocks.constants,
    )  # fmt: skip
    return out


def _gradient_sums(
    gradient: Tensor, out: Tensor, x: Tensor, mean: Tensor, scale: Tensor, slope: float | None
) -> Tensor:
    """Return (2, B, C): the sums over voxels of g and of g·x̂."""
    n_samples, n_channels, n_voxels = len(x), x.shape[1], x[0, 0].numel()
    blocks, rows_a_program, n_parts = _parts(n_samples, n_channels, n_voxels)
    parts = mean.new_empty((2, n_samples, n_parts, n_channels))
    kernels.gradient_sums_of_parts[(n_parts, triton.cdiv(n_channels, blocks.columns), n_samples)](
        gradient, out, x, mean, scale, parts[0], parts[1], n_voxels, blocks.n_groups, rows_a_program, slope or 0.0,
        ACTIVATES=slope is not None, ACC=_acc(x), **blocks.constants,
    )  # fmt: skip
    return parts.sum(2)


def _gradient_of_input(
    gradient: Tensor,
    out: Tensor,
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    weight: Tensor,
    sums: Tensor,
    of_x: Tensor,
    of_residual: Tensor | None,
    slope: float | None,
) -> None:
    """Write the gradients of the input of the norm and of the residual."""
    n_voxels, n_channels, blocks = x[0, 0].numel(), x.shape[1], Blocks.of(x.shape[1])
    kernels.gradient_of_input[blocks.grid(n_voxels, n_channels, len(x))](
        gradient, out, x, mean, scale, weight, sums[0], sums[1],
        of_x, of_x if of_residual is None else of_residual, n_voxels, blocks.n_groups, slope or 0.0,
        ADDS=of_residual is not None, ACTIVATES=slope is not None, ACC=_acc(x), **blocks.constants,
    )  # fmt: skip


def average_pool(x: Tensor, window: Sequence[int]) -> Tensor:
    """Average over windows that do not overlap; voxels beyond the last whole window are left out."""
    pooled: Tensor = _AveragePool.apply(x.contiguous(memory_format=LAST), tuple(window))
    return pooled


class _AveragePool(torch.autograd.Function):
    """Average pooling with its gradient."""

    @staticmethod
    def forward(context: Any, x: Tensor, window: Three) -> Tensor:  # noqa: ANN401
        context.shape, context.window = x.shape, window
        shape = [axis // step for axis, step in zip(x.shape[2:], window, strict=True)]
        out = torch.empty((*x.shape[:2], *shape), dtype=x.dtype, device=x.device, memory_format=LAST)
        blocks = Blocks.of(x.shape[1])
        kernels.average_windows[blocks.grid(out[0, 0].numel(), x.shape[1], len(x))](
            x, out, blocks.n_groups, *shape, *x.shape[3:], x[0, 0].numel(), *window,
            ACC=_acc(x), **blocks.constants,
        )  # fmt: skip
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        gradient = gradient.contiguous(memory_format=LAST)
        of_x = torch.empty(context.shape, dtype=gradient.dtype, device=gradient.device, memory_format=LAST)
        n_voxels, n_channels = of_x[0, 0].numel(), of_x.shape[1]
        blocks = Blocks.of(n_channels)
        kernels.spread_over_windows[blocks.grid(n_voxels, n_channels, len(of_x))](
            gradient, of_x, blocks.n_groups, *gradient.shape[2:], *of_x.shape[3:], n_voxels, *context.window,
            ACC=_acc(of_x), **blocks.constants,
        )  # fmt: skip
        return of_x, None


def upsample_and_join(conv: nn.ConvTranspose3d, x: Tensor, skip: Tensor) -> Tensor:
    """Return (upsampled, skip), joined along the channels.

    A transposed convolution whose kernel is its stride is one product of matrices, voxels by channels; its rows are put
    in their places, and the skip next to them, by one kernel.
    """
    x = x.contiguous(memory_format=LAST)
    n_in, n_up, *kernel = conv.weight.shape
    voxels = x.permute(0, 2, 3, 4, 1).reshape(-1, n_in)  # views both: the weights are channels last, too
    products = voxels @ conv.weight.permute(0, 2, 3, 4, 1).reshape(n_in, -1)
    joined: Tensor = _Join.apply(products, conv.bias, skip.contiguous(memory_format=LAST), n_up, tuple(kernel))
    return joined


class _Join(torch.autograd.Function):
    """The joined tensor with its gradient, from (voxels of the coarse grid, KZ·KY·KX·channels) and the skip."""

    @staticmethod
    def forward(context: Any, products: Tensor, bias: Tensor, skip: Tensor, n_up: int, kernel: Three) -> Tensor:  # noqa: ANN401
        context.products_shape, context.skip_shape, context.kernel, context.bias_dtype = (
            products.shape, skip.shape, kernel, bias.dtype,
        )  # fmt: skip
        n_samples, n_skip, *shape = skip.shape
        out = torch.empty((n_samples, n_up + n_skip, *shape), dtype=skip.dtype, device=skip.device, memory_format=LAST)
        kernels.join[_grid_of_join(shape, n_up, n_skip, n_samples)](
            products, bias, skip, out, *_join_sizes(shape, n_up, n_skip), *kernel,
            ACC=_acc(skip), **_join_constants(n_up, n_skip),
        )  # fmt: skip
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        gradient = gradient.contiguous(memory_format=LAST)
        n_samples, n_skip, *shape = context.skip_shape
        n_up = gradient.shape[1] - n_skip
        of_products = gradient.new_empty(context.products_shape)
        of_skip = torch.empty(context.skip_shape, dtype=gradient.dtype, device=gradient.device, memory_format=LAST)
        kernels.part[_grid_of_join(shape, n_up, n_skip, n_samples)](
            gradient, of_products, of_skip, *_join_sizes(shape, n_up, n_skip), *context.kernel,
            **_join_constants(n_up, n_skip),
        )  # fmt: skip
        of_bias = of_products.view(-1, n_up).sum(0, dtype=_dtype_of_sums(gradient)).to(context.bias_dtype)
        return of_products, of_bias, of_skip, None, None


def _join_constants(n_up: int, n_skip: int) -> dict[str, int]:
    return {**Blocks.of(n_up).constants, "GROUP": _join_group(n_up, n_skip)}


def _join_group(n_up: int, n_skip: int) -> int:
    return math.gcd(n_up, n_skip, _MAX_GROUP)


def _grid_of_join(shape: Sequence[int], n_up: int, n_skip: int, n_samples: int) -> Three:
    """Return programs for the columns of both parts, none of which has columns of both."""
    blocks = Blocks.of(n_up)
    n_voxels = shape[0] * shape[1] * shape[2]
    columns = triton.cdiv(n_up, blocks.columns) + triton.cdiv(n_skip, blocks.columns)
    return triton.cdiv(n_voxels, blocks.rows), columns, n_samples


def _join_sizes(shape: Sequence[int], n_up: int, n_skip: int) -> tuple[int, ...]:
    group = _join_group(n_up, n_skip)
    return shape[0] * shape[1] * shape[2], n_up // group, n_skip // group, shape[1], shape[2]
