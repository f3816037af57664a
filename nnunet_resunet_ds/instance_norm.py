"""Instance norm computed as group norm with one group a channel: the same result, faster on a CPU."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GroupedInstanceNorm3d(nn.InstanceNorm3d):
    """`torch.nn.InstanceNorm3d` without running statistics, with the same parameters and state dict.

    PyTorch's own copies a channels-last tensor on the way in and out; group norm has a kernel for it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel of (B, C, Z, Y, X).

        Raises:
            ValueError: there is one voxel, whose normalised value would be 0 whatever it holds.
        """
        if x.shape[2:].numel() == 1:
            msg = f"expected more than one voxel a channel to normalise; got input of shape {tuple(x.shape)}"
            raise ValueError(msg)
        return F.group_norm(x, self.num_features, self.weight, self.bias, self.eps)


def use_grouped_instance_norm(network: nn.Module) -> None:
    """Exchange, in place, every instance norm of a network that has no running statistics; parameters stay."""
    for module in network.modules():
        if type(module) is nn.InstanceNorm3d and not module.track_running_stats:
            module.__class__ = GroupedInstanceNorm3d


def lay_out_for(network: nn.Module, device: torch.device) -> None:
    """Bring a network into the form that computes fastest on a device; values and state dict stay as they are.

    Channels last in memory on CPU and GPU; grouped instance norm on the CPU only, since CUDA autocast runs it in fp32.
    """
    if device.type in ("cpu", "cuda"):
        network.to(memory_format=torch.channels_last_3d)
    if device.type == "cpu":
        use_grouped_instance_norm(network)
