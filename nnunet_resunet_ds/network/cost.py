"""Count what a network costs: its parameters and floating-point operations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """What a network costs in prediction."""

    parameters: int
    flops: int
    """Of a forward pass of one training patch; a multiplication with its addition counts two."""


def count_cost(configuration: Mapping[str, Any], n_channels: int, n_regions: int) -> Cost:
    """Count the parameters of a network, and the operations of one forward pass.

    Args:
        configuration: of plans, with ``architecture`` and ``patch_size``.
        n_channels: modalities.
        n_regions: outputs.
    """
    network = weightless_network(configuration, n_channels, n_regions, deep_supervision=False).eval()
    flops = count_flops(network, (1, n_channels, *configuration["patch_size"]))
    return Cost(sum(parameter.numel() for parameter in network.parameters()), flops)


def weightless_network(
    configuration: Mapping[str, Any], n_channels: int, n_regions: int, *, deep_supervision: bool
) -> nn.Module:
    """Build the network of a plans configuration without memory for its weights."""
    architecture = configuration["architecture"]
    with torch.device("meta"):
        network: nn.Module = get_network_from_plans(
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
            n_channels,
            n_regions,
            deep_supervision=deep_supervision,
        )
    return network


def count_flops(network: nn.Module, shape: Sequence[int], *, backward: bool = False) -> int:
    """Count the floating-point operations of one pass.

    Args:
        network: of `weightless_network`.
        shape: of the input, (B, C, Z, Y, X).
        backward: count the forward and the backward pass, of the sum of all outputs.
    """
    with torch.device("meta"), torch.set_grad_enabled(backward), FlopCounterMode(display=False) as counter:
        outputs = network(torch.zeros(tuple(shape)))
        if backward:
            outputs = outputs if isinstance(outputs, list) else [outputs]
            torch.autograd.backward([output.sum() for output in outputs])
    flops: int = counter.get_total_flops()
    return flops
