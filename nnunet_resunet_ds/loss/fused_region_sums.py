"""Add up what the loss is made of in one pass over logits and targets, by Triton: the form of the loss for GPUs.

The form of PyTorch's operations is `nnunet_resunet_ds.loss.region_loss.region_sums`; it makes some ten tensors of the
logits' size.
"""

from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from nnunet_resunet_ds.loss import region_sums_kernels as kernels

_VOXELS = 1024
"""Of a program at a time."""
_PROGRAMS = 256
"""That share the voxels of one region of one sample."""
N_SUMS = 5


def fused_region_sums(logits: Tensor, target: Tensor, counts: Tensor | None, gamma: float) -> Tensor:
    """Return what `region_loss.region_sums` does, (5, B, R) in fp32, with the gradient of the logits."""
    if not logits.is_contiguous(memory_format=torch.channels_last_3d):
        logits = logits.contiguous()
    sums: Tensor = _RegionSums.apply(
        logits, target.contiguous(), None if counts is None else counts.contiguous(), gamma
    )
    return sums


class _RegionSums(torch.autograd.Function):
    """The sums with their gradient."""

    @staticmethod
    def forward(context: Any, logits: Tensor, target: Tensor, counts: Tensor | None, gamma: float) -> Tensor:  # noqa: ANN401
        n_samples, n_regions = logits.shape[:2]
        n_voxels = logits[0, 0].numel()
        context.save_for_backward(logits, target, counts)
        context.gamma = gamma
        a_program = triton.cdiv(triton.cdiv(n_voxels, _VOXELS), _PROGRAMS) * _VOXELS
        n_parts = triton.cdiv(n_voxels, a_program)
        parts = torch.empty((N_SUMS, n_samples, n_regions, n_parts), device=logits.device)
        kernels.sums_of_parts[(n_parts, n_samples * n_regions)](
            logits, target, logits if counts is None else counts, parts, gamma, *_strides(logits), n_regions, n_voxels,
            a_program, HAS_COUNTS=counts is not None, BV=_VOXELS,
        )  # fmt: skip
        return parts.sum(-1)

    @staticmethod
    @once_differentiable
    def backward(context: Any, of_sums: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        logits, target, counts = context.saved_tensors
        n_samples, n_regions = logits.shape[:2]
        n_voxels = logits[0, 0].numel()
        of_logits = torch.empty_like(logits)
        kernels.gradient_of_logits[(triton.cdiv(n_voxels, _VOXELS), n_samples * n_regions)](
            logits, target, logits if counts is None else counts, of_sums.contiguous(), of_logits, context.gamma,
            *_strides(logits), n_regions, n_voxels, HAS_COUNTS=counts is not None, BV=_VOXELS,
        )  # fmt: skip
        return of_logits, None, None, None


def _strides(logits: Tensor) -> tuple[int, int, int]:
    """Return the steps in memory from one sample, region and voxel to the next."""
    n_regions, n_voxels = logits.shape[1], logits[0, 0].numel()
    if logits.is_contiguous():
        return n_regions * n_voxels, n_voxels, 1
    return n_regions * n_voxels, 1, n_regions
