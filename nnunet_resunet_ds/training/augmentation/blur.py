"""Blur channels with a Gaussian kernel of another width along each axis."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from nnunet_resunet_ds.training.augmentation.distributions import Distribution, distribution
from nnunet_resunet_ds.training.augmentation.nnunet_settings import require
from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers
from nnunet_resunet_ds.training.augmentation.transform import Sample, Transform

Sigmas = Mapping[int, Sequence[float]]
"""Of each channel that is blurred: standard deviation in voxels along each axis."""

TRUNCATE = 6
"""Width of the kernel in standard deviations: batchgeneratorsv2's."""


@dataclass(frozen=True)
class GaussianBlur(Transform[Sigmas]):
    """batchgeneratorsv2's ``GaussianBlurTransform``; its ``benchmark`` chooses between ways that compute the same."""

    sigma: Distribution
    p_per_channel: float

    @classmethod
    def like(cls, transform: Any) -> "GaussianBlur":  # noqa: ANN401 (batchgeneratorsv2 has no types)
        """Return the counterpart of nnU-Net's transform.

        Raises:
            NotOnDeviceError: channels or axes share their width.
        """
        require(transform, synchronize_channels=False, synchronize_axes=False)
        return cls(distribution(transform.blur_sigma), transform.p_per_channel)

    def draw(self, random: RandomNumbers, sample: Sample) -> Sigmas:
        """Return the width along each axis of each channel that is blurred."""
        n_axes = sample.image.dim() - 1
        return random.of_channels(
            len(sample.image), self.p_per_channel, lambda: [random.draw(self.sigma) for _ in range(n_axes)]
        )

    def apply(self, sample: Sample, parameters: Sigmas, random: RandomNumbers) -> Sample:
        """Blur along one axis after the other."""
        for channel, sigmas in parameters.items():
            values = sample.image[channel]
            for axis, sigma in enumerate(sigmas):
                values = blurred(values, sigma, axis)
            sample.image[channel].copy_(values)
        return sample


def blurred(values: Tensor, sigma: float, axis: int) -> Tensor:
    """Return values (Z, Y, X) blurred along an axis; they are mirrored at the border.

    A kernel has three to seven taps: shifted copies are added up, which needs no copy of the kernel on the device.
    """
    taps = kernel(sigma)
    margin = len(taps) // 2
    padding = [side for one in reversed(range(values.dim())) for side in ([margin] * 2 if one == axis else [0] * 2)]
    padded = F.pad(values[None], padding, mode="reflect")[0]
    size = values.shape[axis]
    total = padded.narrow(axis, 0, size) * taps[0]
    for shift, tap in enumerate(taps[1:], start=1):
        total.add_(padded.narrow(axis, shift, size), alpha=tap)
    return total


def kernel(sigma: float) -> list[float]:
    """Return an odd number of weights that sum to 1."""
    half = math.floor((sigma * TRUNCATE + 0.5) / 2)  # the odd number nearest to sigma * TRUNCATE + 0.5 is 2 half + 1
    weights = [math.exp(-0.5 * (x / sigma) ** 2) for x in range(-half, half + 1)]
    return [weight / sum(weights) for weight in weights]
