"""Stretch the values of channels about their mean."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nnunet_resunet_ds.training.augmentation.distributions import distribution
from nnunet_resunet_ds.training.augmentation.per_channel import PerChannel
from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers


@dataclass(frozen=True)
class Contrast(PerChannel):
    """batchgeneratorsv2's ``ContrastTransform``; the number is the factor."""

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

    def change(self, values: Tensor, number: float, random: RandomNumbers) -> None:
        """Stretch."""
        stretch(values, number, preserve_range=self.preserve_range)


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
