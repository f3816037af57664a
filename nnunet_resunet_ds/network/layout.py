"""Give a network the form that computes fastest on a device; values and state dict stay as they are."""

import torch
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from torch import Tensor, nn
from torch.nn import functional as F

from nnunet_resunet_ds.base.switches import AVERAGE_POOLING, CHANNELS_LAST, INSTANCE_NORM, is_taken
from nnunet_resunet_ds.network.instance_norm import BlockwiseInstanceNorm3d


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


def lay_out_for(network: nn.Module, device: torch.device) -> None:
    """Bring a network into its fastest form, in place.

    Channels last in memory on CPU and GPU; on the CPU, the layers that PyTorch has no good kernel for in that form are
    exchanged for ours. GPUs keep theirs.
    """
    if device.type in ("cpu", "cuda") and is_taken(CHANNELS_LAST):
        network.to(memory_format=torch.channels_last_3d)
    if device.type == "cpu" and is_taken(INSTANCE_NORM):
        use_blockwise_instance_norm(network)
    if device.type == "cpu" and is_taken(AVERAGE_POOLING):
        use_planewise_average_pooling(network)


def use_blockwise_instance_norm(network: nn.Module) -> None:
    """Exchange every instance norm that has parameters and no running statistics; parameters stay.

    In nnU-Net's blocks it follows a convolution, whose output it may overwrite.
    """
    for module in network.modules():
        if type(module) is nn.InstanceNorm3d and module.affine and not module.track_running_stats:
            module.__class__ = BlockwiseInstanceNorm3d
    for module in network.modules():
        norm = getattr(module, "norm", None) if isinstance(module, ConvDropoutNormReLU) else None
        if isinstance(norm, BlockwiseInstanceNorm3d):
            norm.overwrites = True


def use_planewise_average_pooling(network: nn.Module) -> None:
    """Exchange every average pooling that `has_whole_windows`."""
    for module in network.modules():
        if type(module) is nn.AvgPool3d and has_whole_windows(module):
            module.__class__ = PlanewiseAvgPool3d
