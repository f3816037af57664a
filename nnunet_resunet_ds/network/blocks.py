"""Build the blocks of the network: nnU-Net's layers and names, computed in the form that is fastest where they run."""

from collections.abc import Sequence
from typing import Any

from dynamic_network_architectures.building_blocks.residual import BasicBlockD
from dynamic_network_architectures.building_blocks.simple_conv_blocks import StackedConvBlocks
from torch import Tensor, nn

from nnunet_resunet_ds.network.forms import Form, form_of

NEGATIVE_SLOPE = 0.01
"""Of every leaky ReLU."""
KERNEL_SIZE = 3
CONVOLUTIONS_PER_BLOCK = 2
_SETTINGS: dict[str, Any] = {
    "conv_bias": True,
    "norm_op": nn.InstanceNorm3d,
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "nonlin": nn.LeakyReLU,
    "nonlin_kwargs": {"negative_slope": NEGATIVE_SLOPE, "inplace": True},
}


class ResidualBlock(BasicBlockD):
    """Two convolutions with a shortcut, which is pooled and projected where shapes differ."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to the channels and the stride of the block."""
        form = form_of(x)
        shortcut = self._shortcut(x, form)
        within = form.conv_norm(self.conv1, x, NEGATIVE_SLOPE)
        return form.conv_norm(self.conv2, within, NEGATIVE_SLOPE, shortcut)

    def _shortcut(self, x: Tensor, form: Form) -> Tensor:
        if not isinstance(self.skip, nn.Sequential):
            return x
        for step in self.skip:
            pools = isinstance(step, nn.AvgPool3d)
            x = form.average_pool(x, self.stride) if pools else form.conv_norm(step, x)
        return x


class ResidualStage(nn.Module):
    """One residual block, under the name that it has in nnU-Net's residual encoder.

    dynamic-network-architectures has a stage of several blocks, but takes no other block than its own.
    """

    def __init__(self, input_channels: int, output_channels: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.output_channels = output_channels
        self.blocks = nn.Sequential(
            ResidualBlock(nn.Conv3d, input_channels, output_channels, KERNEL_SIZE, list(stride), **_SETTINGS)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to the channels and the stride of the stage."""
        result: Tensor = self.blocks(x)
        return result


class PlainStage(StackedConvBlocks):
    """The same convolutions without the shortcut."""

    def __init__(self, input_channels: int, output_channels: int, stride: Sequence[int]) -> None:
        super().__init__(
            CONVOLUTIONS_PER_BLOCK, nn.Conv3d, input_channels, output_channels, KERNEL_SIZE, list(stride), **_SETTINGS
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, Z, Y, X) to the channels and the stride of the stage."""
        for unit in self.convs:
            x = form_of(x).conv_norm(unit, x, NEGATIVE_SLOPE)
        return x
