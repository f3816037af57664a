"""Multiply channels by a factor."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nnunet_resunet_ds.training.augmentation.distributions import distribution
from nnunet_resunet_ds.training.augmentation.per_channel import PerChannel
from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers


@dataclass(frozen=True)
class Brightness(PerChannel):
    """batchgeneratorsv2's ``MultiplicativeBrightnessTransform``; the number is the factor."""

    @classmethod
    def like(cls, transform: Any) -> "Brightness":  # noqa: ANN401 (batchgeneratorsv2 has no types)
        """Return the counterpart of nnU-Net's transform."""
        return cls(distribution(transform.multiplier_range), transform.p_per_channel, transform.synchronize_channels)

    def change(self, values: Tensor, number: float, random: RandomNumbers) -> None:
        """Multiply."""
        values.mul_(number)
