"""What every transform on the device is: parameters drawn on the CPU, then pure work on the tensors of a sample."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from torch import Tensor

from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers

P = TypeVar("P")
"""Parameters of a transform."""


class Sample(NamedTuple):
    """One image with its segmentation, on the device."""

    image: Tensor
    """(C, Z, Y, X) float."""
    segmentation: Tensor
    """(1, Z, Y, X) label values, or (R, Z, Y, X) bool once they are regions."""


class Transform(ABC, Generic[P]):
    """A transform of nnU-Net on the device; nothing in it waits for the device, so no value is ever read from there."""

    @abstractmethod
    def draw(self, random: RandomNumbers, sample: Sample) -> P:
        """Return parameters for a sample, of which only shapes are looked at."""

    @abstractmethod
    def apply(self, sample: Sample, parameters: P, random: RandomNumbers) -> Sample:
        """Return the sample, transformed; its tensors may be overwritten."""

    def __call__(self, sample: Sample, random: RandomNumbers) -> Sample:
        """Draw parameters and apply them."""
        return self.apply(sample, self.draw(random, sample), random)


class Fixed(Transform[None]):
    """A transform without parameters."""

    def draw(self, random: RandomNumbers, sample: Sample) -> None:
        """Draw nothing."""


@dataclass(frozen=True)
class Sometimes(Transform[bool]):
    """Apply a transform to some samples: batchgeneratorsv2's ``RandomTransform``."""

    transform: Transform[Any]
    probability: float

    def draw(self, random: RandomNumbers, sample: Sample) -> bool:
        """Return whether to apply it."""
        return random.happens(self.probability)

    def apply(self, sample: Sample, parameters: bool, random: RandomNumbers) -> Sample:
        """Apply it or not."""
        return self.transform(sample, random) if parameters else sample
