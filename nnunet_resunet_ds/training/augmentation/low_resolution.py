"""Let channels look as if they had been acquired at a lower resolution."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from nnunet_resunet_ds.training.augmentation.distributions import Distribution, distribution
from nnunet_resunet_ds.training.augmentation.nnunet_settings import require
from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers
from nnunet_resunet_ds.training.augmentation.transform import Sample, Transform

Scales = Mapping[int, float]
"""Of each channel that is changed: its resolution as a share of the full one."""


@dataclass(frozen=True)
class LowResolution(Transform[Scales]):
    """batchgeneratorsv2's ``SimulateLowResolutionTransform`` with one scale for all axes."""

    scale: Distribution
    p_per_channel: float
    synchronize_channels: bool

    @classmethod
    def like(cls, transform: Any) -> "LowResolution":  # noqa: ANN401 (batchgeneratorsv2 has no types)
        """Return the counterpart of nnU-Net's transform.

        Raises:
            NotOnDeviceError: axes have scales of their own, or some axes or channels are left out.
        """
        require(transform, synchronize_axes=True, ignore_axes=None, allowed_channels=None)
        return cls(distribution(transform.scale), transform.p_per_channel, transform.synchronize_channels)

    def draw(self, random: RandomNumbers, sample: Sample) -> Scales:
        """Return the scale of each channel that is changed."""
        return random.of_channels(
            len(sample.image),
            self.p_per_channel,
            lambda: random.draw(self.scale),
            synchronized=self.synchronize_channels,
        )

    def apply(self, sample: Sample, parameters: Scales, random: RandomNumbers) -> Sample:
        """Take every so many voxels, and interpolate between them."""
        for channel, scale in parameters.items():
            values = sample.image[channel]
            values.copy_(at_low_resolution(values, scale))
        return sample


def at_low_resolution(values: Tensor, scale: float) -> Tensor:
    """Return values (Z, Y, X), sampled down to the nearest voxels and up again linearly."""
    small = [round(size * scale) for size in values.shape]
    sampled = F.interpolate(values[None, None], small, mode="nearest-exact")
    return F.interpolate(sampled, list(values.shape), mode="trilinear")[0, 0]
