"""Stretch the values of channels about their mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nnunet_resunet_ds.training.augmentation.distributions import Distribution, distribution
from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers
from nnunet_resunet_ds.training.augmentation.transform import Sample, Transform

Factors = Mapping[int, float]
"""Of each channel that is changed."""


@dataclass(frozen=True)
class Contrast(Transform[Factors]):
    """batchgeneratorsv2's ``ContrastTransform``."""

    factor: Distribution
    p_per_channel: float
    synchronize_channels: bool
    preserve_range: bool

    @classmethod
    def like(cls, transform: Any) -> "Contrast":  # noqa: ANN401 (batchgeneratorsv2 has no types)
        """Return the counterpart of nnU-Net's transform."""
        return cls(
            distribution(transform.contrast_range),
            transform.p_per_channel,
            transform.synchronize_channels,
            transform.preserve_range,
        )

    def draw(self, random: RandomNumbers, sample: Sample) -> Factors:
        """Return the factor of each channel that is changed."""
        return random.of_channels(
            len(sample.image),
            self.p_per_channel,
            lambda: random.draw(self.factor),
            synchronized=self.synchronize_channels,
        )

    def apply(self, sample: Sample, parameters: Factors, random: RandomNumbers) -> Sample:
        """Stretch."""
        for channel, factor in parameters.items():
            stretch(sample.image[channel], factor, preserve_range=self.preserve_range)
        return sample


def stretch(values: Tensor, factor: float, *, preserve_range: bool) -> None:
    """Stretch values about their mean, in place.

    Args:
        values: of any shape.
        factor: above 1 for more contrast.
        preserve_range: whether to clip to the least and the greatest value that was there.
    """
    mean = values.mean()
    least, greatest = values.aminmax()
    values.sub_(mean).mul_(factor).add_(mean)
    if preserve_range:
        values.clamp_(least, greatest)
