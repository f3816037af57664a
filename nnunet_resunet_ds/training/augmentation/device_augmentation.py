"""Augment batches where the network is: nnU-Net's transforms, sample by sample, in its order."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers
from nnunet_resunet_ds.training.augmentation.spatial import Crop
from nnunet_resunet_ds.training.augmentation.targets import at_scale
from nnunet_resunet_ds.training.augmentation.transform import Sample
from nnunet_resunet_ds.training.augmentation.translation import Pipeline


class DeviceAugmentation:
    """Makes batches of crops.

    Random numbers begin again in each epoch, by its number: an epoch that is run again, or first run after ``--c``,
    draws what it would have drawn.
    """

    def __init__(self, pipeline: Pipeline, device: torch.device, entropy: Sequence[int]) -> None:
        """Prepare.

        Args:
            pipeline: what is done with each crop.
            device: where the network is.
            entropy: whole numbers of at least 0; each rank needs others.
        """
        self.pipeline = pipeline
        self._device = device
        self._entropy = tuple(entropy)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Draw the random numbers of this epoch from here on."""
        self._random = RandomNumbers(self._device, (*self._entropy, epoch))

    @torch.no_grad()
    def __call__(
        self, images: Sequence[Tensor], segmentations: Sequence[Tensor], centres: Sequence[Sequence[float]]
    ) -> tuple[Tensor, Tensor | list[Tensor]]:
        """Augment a batch of `Crop` values, whose tensors may still be on the CPU.

        Args:
            images: of each sample.
            segmentations: of each sample.
            centres: of each sample's patch.

        Returns:
            Images (B, C, Z, Y, X) float, and targets (B, R, Z, Y, X), a list of them where there are several heads.
        """
        crops = zip(self._here(images), self._here(segmentations), centres, strict=True)
        samples = [self._augmented(Crop(*crop)) for crop in crops]
        image, target = (torch.stack(tensors) for tensors in zip(*samples, strict=True))
        if self.pipeline.scales is None:
            return image, target
        return image, [at_scale(target, scale) for scale in self.pipeline.scales]

    def _here(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [tensor.to(self._device, non_blocking=True) for tensor in tensors]

    def _augmented(self, crop: Crop) -> Sample:
        sample = self.pipeline.spatial(crop, self._random)
        for transform in self.pipeline.transforms:
            sample = transform(sample, self._random)
        return sample
