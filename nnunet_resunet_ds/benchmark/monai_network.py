"""MONAI's network in the shape of ours, for the benchmark."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from nnunet_resunet_ds.comparison.monai_networks import monai_nets


def dyn_unet(architecture: Mapping[str, Any], n_channels: int, n_regions: int) -> nn.Module:
    """Return MONAI's `DynUNet` with residual blocks, of our channels and strides, with one output.

    Args:
        architecture: of our network, as plans have it.
        n_channels: modalities.
        n_regions: outputs.

    Raises:
        InputError: MONAI is missing or too old.
    """
    kwargs = architecture["arch_kwargs"]
    strides = kwargs["strides"]
    network: nn.Module = monai_nets().DynUNet(
        3,
        n_channels,
        n_regions,
        kernel_size=[[3, 3, 3]] * len(strides),
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=kwargs["features_per_stage"],
        res_block=True,
    )
    return network
