"""Bring a network into the form that computes fastest on a device; values and state dict stay."""

import torch
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from torch import nn

from nnunet_resunet_ds.base.switches import AVERAGE_POOLING, CHANNELS_LAST, INSTANCE_NORM, is_taken
from nnunet_resunet_ds.network.average_pooling import PlanewiseAvgPool3d, has_whole_windows
from nnunet_resunet_ds.network.instance_norm import BlockwiseInstanceNorm3d


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
