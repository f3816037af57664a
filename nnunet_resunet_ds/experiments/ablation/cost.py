"""What a network costs, counted and not timed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """Of a network as it predicts."""

    parameters: int
    flops: int
    """Of a forward pass of one training patch; a multiplication with its addition counts two."""


def count_cost(configuration: Mapping[str, Any], n_channels: int, n_regions: int) -> Cost:
    """Build the network of a plans configuration without memory for its weights, and count.

    Args:
        configuration: with ``architecture`` and ``patch_size``.
        n_channels: modalities.
        n_regions: outputs.
    """
    architecture = configuration["architecture"]
    with torch.device("meta"), torch.inference_mode():
        network = get_network_from_plans(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            n_channels,
            n_regions,
            deep_supervision=False,
        ).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, n_channels, *configuration["patch_size"]))
    return Cost(sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops())
