"""Bend the scale of values of channels by a power."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from nnunet_resunet_ds.training.augmentation.distributions import Distribution, distribution
from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers
from nnunet_resunet_ds.training.augmentation.transform import Sample, Transform

LEAST_RANGE = 1e-7
"""Of values, and of their standard deviation: batchgeneratorsv2's."""


class Bend(NamedTuple):
    """How the values of a channel are changed."""

    gamma: float
    inverted: bool
    """Whether to bend from the greatest value down."""
    retain_stats: bool
    """Whether mean and standard deviation stay."""


Bends = Mapping[int, Bend]
"""Of each channel that is changed."""


@dataclass(frozen=True)
class Gamma(Transform[Bends]):
    """batchgeneratorsv2's ``GammaTransform``."""

    gamma: Distribution
    p_invert_image: float
    p_retain_stats: float
    p_per_channel: float
    synchronize_channels: bool

    @classmethod
    def like(cls, transform: Any) -> "Gamma":  # noqa: ANN401 (batchgeneratorsv2 has no types)
        """Return the counterpart of nnU-Net's transform."""
        return cls(
            distribution(transform.gamma),
            transform.p_invert_image,
            transform.p_retain_stats,
            transform.p_per_channel,
            transform.synchronize_channels,
        )

    def draw(self, random: RandomNumbers, sample: Sample) -> Bends:
        """Return how each chosen channel is changed; where channels are synchronised, they share the power alone."""
        gammas = random.of_channels(
            len(sample.image),
            self.p_per_channel,
            lambda: random.draw(self.gamma),
            synchronized=self.synchronize_channels,
        )
        return {
            channel: Bend(gamma, random.happens(self.p_invert_image), random.happens(self.p_retain_stats))
            for channel, gamma in gammas.items()
        }

    def apply(self, sample: Sample, parameters: Bends, random: RandomNumbers) -> Sample:
        """Bend."""
        for channel, bend in parameters.items():
            values = sample.image[channel]
            values.copy_(bent(values, bend))
        return sample


def bent(values: Tensor, bend: Bend) -> Tensor:
    """Return values of any shape, brought to 0 to 1, raised to a power and brought back to their range."""
    if bend.inverted:
        return -bent(-values, bend._replace(inverted=False))
    least, greatest = values.aminmax()
    extent = greatest - least
    result = ((values - least) / extent.clamp(min=LEAST_RANGE)).pow_(bend.gamma).mul_(extent).add_(least)
    if bend.retain_stats:
        scale = values.std() / result.std().clamp(min=LEAST_RANGE)
        result = result.sub_(result.mean()).mul_(scale).add_(values.mean())
    return result
