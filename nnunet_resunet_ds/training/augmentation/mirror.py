"""Mirror a sample along random axes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers
from nnunet_resunet_ds.training.augmentation.transform import Sample, Transform

PROBABILITY = 0.5
"""Of each axis: batchgeneratorsv2's."""


@dataclass(frozen=True)
class Mirror(Transform[Sequence[int]]):
    """batchgeneratorsv2's ``MirrorTransform``."""

    axes: tuple[int, ...]

    @classmethod
    def like(cls, transform: Any) -> "Mirror":  # noqa: ANN401 (batchgeneratorsv2 has no types)
        """Return the counterpart of nnU-Net's transform."""
        return cls(tuple(transform.allowed_axes))

    def draw(self, random: RandomNumbers, sample: Sample) -> Sequence[int]:
        """Return axes to mirror along, 0 being Z."""
        return [axis for axis in self.axes if random.happens(PROBABILITY)]

    def apply(self, sample: Sample, parameters: Sequence[int], random: RandomNumbers) -> Sample:
        """Mirror image and segmentation."""
        if not parameters:
            return sample
        axes = [axis + 1 for axis in parameters]
        return Sample(sample.image.flip(axes), sample.segmentation.flip(axes))
