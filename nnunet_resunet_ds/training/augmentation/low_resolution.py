"""Let channels look as if they had been acquired at a lower resolution."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from nnunet_resunet_ds.training.augmentation.distributions import distribution
from nnunet_resunet_ds.training.augmentation.nnunet_settings import require
from nnunet_resunet_ds.training.augmentation.per_channel import PerChannel
from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers


@dataclass(frozen=True)
class LowResolution(PerChannel):
    """batchgeneratorsv2's ``SimulateLowResolutionTransform`` with one scale for all axes.

    The number is the resolution as a share of the full one.
    """

    @classmethod
    def like(cls, transform: Any) -> "LowResolution":  # noqa: ANN401 (batchgeneratorsv2 has no types)
        """Return the counterpart of nnU-Net's transform.

        Raises:
            NotOnDeviceError: axes have scales of their own, or some axes or channels are left out.
        """
        require(transform, synchronize_axes=True, ignore_axes=None, allowed_channels=None)
        return cls(distribution(transform.scale), transform.p_per_channel, transform.synchronize_channels)

    def change(self, values: Tensor, number: float, random: RandomNumbers) -> None:
        """Take every so many voxels, and interpolate between them."""
        values.copy_(at_low_resolution(values, number))


def at_low_resolution(values: Tensor, scale: float) -> Tensor:
    """Return values (Z, Y, X), sampled down to the nearest voxels and up again linearly."""
    small = [round(size * scale) for size in values.shape]
    sampled = F.interpolate(values[None, None], small, mode="nearest-exact")
    return F.interpolate(sampled, list(values.shape), mode="trilinear")[0, 0]
