"""Turn an augmented segmentation into what heads are compared with, and set the background of its image back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nnunet_resunet_ds.training.augmentation.nnunet_settings import require
from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers
from nnunet_resunet_ds.training.augmentation.transform import Fixed, Sample


@dataclass(frozen=True)
class MaskedImage(Fixed):
    """Set channels to a value where the segmentation is below 0, outside the brain: ``MaskImageTransform``."""

    channels: tuple[int, ...]
    value: float

    @classmethod
    def like(cls, transform: Any) -> "MaskedImage":  # noqa: ANN401 (batchgeneratorsv2 has no types)
        """Return the counterpart of nnU-Net's transform.

        Raises:
            NotOnDeviceError: the mask is in another channel of the segmentation.
        """
        require(transform, channel_idx_in_seg=0)
        return cls(tuple(transform.apply_to_channels), transform.set_outside_to)

    def apply(self, sample: Sample, parameters: None, random: RandomNumbers) -> Sample:
        """Set the background."""
        outside = sample.segmentation[0] < 0
        for channel in self.channels:
            sample.image[channel].masked_fill_(outside, self.value)
        return sample


@dataclass(frozen=True)
class ReplacedLabel(Fixed):
    """Replace a label value: ``RemoveLabelTransform``."""

    label: int
    by: int

    @classmethod
    def like(cls, transform: Any) -> "ReplacedLabel":  # noqa: ANN401 (batchgeneratorsv2 has no types)
        """Return the counterpart of nnU-Net's transform.

        Raises:
            NotOnDeviceError: only some channels of the segmentation are changed.
        """
        require(transform, segmentation_channels=None)
        return cls(transform.label_value, transform.set_to)

    def apply(self, sample: Sample, parameters: None, random: RandomNumbers) -> Sample:
        """Replace it."""
        segmentation = sample.segmentation
        return sample._replace(segmentation=segmentation.masked_fill(segmentation == self.label, self.by))


@dataclass(frozen=True)
class Regions(Fixed):
    """Make a mask of each region: ``ConvertSegmentationToRegionsTransform``."""

    labels: tuple[tuple[int, ...], ...]
    """Label values of each region."""

    @classmethod
    def like(cls, transform: Any) -> "Regions":  # noqa: ANN401 (batchgeneratorsv2 has no types)
        """Return the counterpart of nnU-Net's transform.

        Raises:
            NotOnDeviceError: the labels are in another channel of the segmentation.
        """
        require(transform, channel_in_seg=0)
        return cls(tuple(tuple(int(label) for label in region.tolist()) for region in transform.regions))

    def apply(self, sample: Sample, parameters: None, random: RandomNumbers) -> Sample:
        """Return the segmentation as bool (R, Z, Y, X)."""
        labels = sample.segmentation[0]
        return sample._replace(segmentation=torch.stack([_is_any(labels, region) for region in self.labels]))


def _is_any(labels: Tensor, region: Sequence[int]) -> Tensor:
    mask = labels == region[0]
    for label in region[1:]:
        mask |= labels == label
    return mask


def at_scale(masks: Tensor, scale: Sequence[float]) -> Tensor:
    """Return masks (B, R, Z, Y, X), sampled to the nearest voxels as ``DownsampleSegForDSTransform`` does.

    Args:
        masks: of any type.
        scale: size along each axis as a share of the full one.
    """
    if all(factor == 1 for factor in scale):
        return masks
    size = [round(length * factor) for length, factor in zip(masks.shape[2:], scale, strict=True)]
    return F.interpolate(masks.float(), size, mode="nearest-exact").to(masks.dtype)
