"""Multiply channels by a factor."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nnunet_resunet_ds.training.augmentation.distributions import Distribution, distribution
from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers
from nnunet_resunet_ds.training.augmentation.transform import Sample, Transform

Factors = Mapping[int, float]
"""Of each channel that is changed."""


@dataclass(frozen=True)
class Brightness(Transform[Factors]):
    """batchgeneratorsv2's ``MultiplicativeBrightnessTransform``."""

    factor: Distribution
    p_per_channel: float
    synchronize_channels: bool

    @classmethod
    def like(cls, transform: Any) -> "Brightness":  # noqa: ANN401 (batchgeneratorsv2 has no types)
        """Return the counterpart of nnU-Net's transform."""
        return cls(distribution(transform.multiplier_range), transform.p_per_channel, transform.synchronize_channels)

    def draw(self, random: RandomNumbers, sample: Sample) -> Factors:
        """Return the factor of each channel that is changed."""
        return random.of_channels(
            len(sample.image),
            self.p_per_channel,
            lambda: random.draw(self.factor),
            synchronized=self.synchronize_channels,
        )

    def apply(self, sample: Sample, parameters: Factors, random: RandomNumbers) -> Sample:
        """Multiply."""
        for channel, factor in parameters.items():
            sample.image[channel].mul_(factor)
        return sample
