"""Draw random numbers for transforms: parameters on the CPU, noise on the device, neither waiting for the other."""

import secrets
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from nnunet_resunet_ds.training.augmentation.distributions import Distribution

_T = TypeVar("_T")
_N_SEEDS = 2**63
N_BITS = 128
"""Of chance, where the recipe has no seed."""


def entropy_of_rank(seed: int | None, rank: int) -> list[int]:
    """Return what the random numbers of a rank begin with: the seed and the rank, or chance where there is no seed."""
    return [secrets.randbits(N_BITS)] if seed is None else [seed, rank]


class RandomNumbers:
    """One source of random numbers; the same entropy gives the same ones.

    Parameters are numbers of Python, which go to the device as arguments of kernels: nothing is copied there for them,
    and nothing asked back.
    """

    def __init__(self, device: torch.device, entropy: Sequence[int]) -> None:
        self._numbers = np.random.default_rng(list(entropy))
        self._noise = torch.Generator(device)
        self._noise.manual_seed(int(self._numbers.integers(_N_SEEDS)))

    def happens(self, probability: float) -> bool:
        """Tell whether an event of this probability happens."""
        return bool(self._numbers.random() < probability)

    def draw(self, distribution: Distribution) -> float:
        """Return a number from a distribution."""
        return distribution.draw(self._numbers)

    def of_channels(
        self, n_channels: int, probability: float, draw: Callable[[], _T], *, synchronized: bool = False
    ) -> dict[int, _T]:
        """Draw parameters for channels.

        Args:
            n_channels: of the image.
            probability: that a channel is chosen.
            draw: returns the parameters of one channel.
            synchronized: whether all channels share one draw.

        Returns:
            Parameters of each channel that is chosen.
        """
        chosen = [channel for channel in range(n_channels) if self.happens(probability)]
        if synchronized:
            return dict.fromkeys(chosen, draw())
        return {channel: draw() for channel in chosen}

    def normal_like(self, values: Tensor) -> Tensor:
        """Return normally distributed noise of mean 0 and deviation 1 on the device of ``values``, in their shape."""
        return torch.empty_like(values).normal_(generator=self._noise)
