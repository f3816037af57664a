"""Add Gaussian noise."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnunet_resunet_ds.training.augmentation.distributions import Distribution, distribution
from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers
from nnunet_resunet_ds.training.augmentation.transform import Sample, Transform

Deviations = Mapping[int, float]
"""Of the noise of each channel that gets some."""


@dataclass(frozen=True)
class GaussianNoise(Transform[Deviations]):
    """batchgeneratorsv2's ``GaussianNoiseTransform``, whose ``noise_variance`` is a standard deviation."""

    deviation: Distribution
    p_per_channel: float
    synchronize_channels: bool

    @classmethod
    def like(cls, transform: Any) -> "GaussianNoise":  # noqa: ANN401 (batchgeneratorsv2 has no types)
        """Return the counterpart of nnU-Net's transform."""
        return cls(distribution(transform.noise_variance), transform.p_per_channel, transform.synchronize_channels)

    def draw(self, random: RandomNumbers, sample: Sample) -> Deviations:
        """Return the standard deviation of each channel's noise."""
        return random.of_channels(
            len(sample.image),
            self.p_per_channel,
            lambda: random.draw(self.deviation),
            synchronized=self.synchronize_channels,
        )

    def apply(self, sample: Sample, parameters: Deviations, random: RandomNumbers) -> Sample:
        """Add noise, another in each channel."""
        for channel, deviation in parameters.items():
            values = sample.image[channel]
            values.add_(random.normal_like(values), alpha=deviation)
        return sample
