"""Add Gaussian noise."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nnunet_resunet_ds.training.augmentation.distributions import distribution
from nnunet_resunet_ds.training.augmentation.per_channel import PerChannel
from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers


@dataclass(frozen=True)
class GaussianNoise(PerChannel):
    """batchgeneratorsv2's ``GaussianNoiseTransform``; the number, its ``noise_variance``, is a standard deviation."""

    @classmethod
    def like(cls, transform: Any) -> "GaussianNoise":  # noqa: ANN401 (batchgeneratorsv2 has no types)
        """Return the counterpart of nnU-Net's transform."""
        return cls(distribution(transform.noise_variance), transform.p_per_channel, transform.synchronize_channels)

    def change(self, values: Tensor, number: float, random: RandomNumbers) -> None:
        """Add noise, another in each channel."""
        values.add_(random.normal_like(values), alpha=number)
