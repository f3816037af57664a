"""Change some channels of a sample, each by a number of its own, or all by the same."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from nnunet_resunet_ds.training.augmentation.distributions import Distribution
from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers
from nnunet_resunet_ds.training.augmentation.transform import Sample, Transform

Numbers = Mapping[int, float]
"""Of each channel that is changed."""


@dataclass(frozen=True)
class PerChannel(Transform[Numbers]):
    """A transform of values that takes one number for each channel that it changes."""

    number: Distribution
    p_per_channel: float
    synchronize_channels: bool
    """Whether all chosen channels get the same number."""

    def draw(self, random: RandomNumbers, sample: Sample) -> Numbers:
        """Return the number of each channel that is changed."""
        return random.of_channels(
            len(sample.image),
            self.p_per_channel,
            lambda: random.draw(self.number),
            synchronized=self.synchronize_channels,
        )

    def apply(self, sample: Sample, parameters: Numbers, random: RandomNumbers) -> Sample:
        """Change the channels."""
        for channel, number in parameters.items():
            self.change(sample.image[channel], number, random)
        return sample

    @abstractmethod
    def change(self, values: Tensor, number: float, random: RandomNumbers) -> None:
        """Change the values (Z, Y, X) of one channel, in place."""
