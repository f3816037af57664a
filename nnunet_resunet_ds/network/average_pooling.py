"""Pool averages of channels-last tensors on a CPU, by PyTorch's kernel for two dimensions."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PlanewiseAvgPool3d(nn.AvgPool3d):
    """`torch.nn.AvgPool3d` of windows that `has_whole_windows`: within planes first, then across them.

    PyTorch's own copies a channels-last tensor on the way in and out, and cannot do bf16 on a CPU.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pool (B, C, Z, Y, X); voxels beyond the last whole window are left out."""
        depth, height, width = _three(self.kernel_size)
        planes = x.transpose(1, 2).flatten(0, 1)  # (B·Z, C, Y, X): a view
        pooled = torch.unflatten(F.avg_pool2d(planes, (height, width)), 0, (len(x), -1))
        n_windows = pooled.shape[1] // depth
        windows = torch.unflatten(pooled[:, : n_windows * depth], 1, (n_windows, depth))
        return windows.mean(dim=2).transpose(1, 2)


def has_whole_windows(pooling: nn.AvgPool3d) -> bool:
    """Tell whether windows do not overlap, leave no gaps and need no padding."""
    alike = _three(pooling.kernel_size) == _three(pooling.stride)
    return alike and _three(pooling.padding) == (0, 0, 0) and not pooling.ceil_mode and pooling.divisor_override is None


def _three(setting: int | tuple[int, ...] | list[int]) -> tuple[int, ...]:
    return (setting,) * 3 if isinstance(setting, int) else tuple(setting)
