"""Cut samples out of cases as nnU-Net's loader does, for augmentation on the device."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from numpy.typing import NDArray
from torch import Tensor

CENTRES = "centres"
"""Entry of a batch: of each sample, where the centre of its patch lies in its crop."""


class Cut(NamedTuple):
    """Part of a box that lies in a case."""

    slices: tuple[slice, ...]
    """Of the case, without its channels."""
    centre: list[float]
    """Of the box, from the first corner of the part, in voxels."""


class CropLoader(nnUNetDataLoader):
    """nnU-Net's loader up to the cropping: the same cases, the same boxes, nothing around the case.

    nnU-Net pads each box to its full size, 205³ for a patch of 128³. That is nearly three times the voxels of a BraTS
    case, to be written, queued, copied to the device, and there sampled as the zeros that lie around an image anyway.
    So a batch is lists with a tensor for each sample, of its own size.
    """

    def generate_train_batch(self) -> dict[str, Any]:
        """Return images (C, Z, Y, X) float32, segmentations (1, Z, Y, X) int16, centres and keys of a batch."""
        cases = self.get_indices()
        crops = [self._crop(case, force_fg=self.get_do_oversample(number)) for number, case in enumerate(cases)]
        images, segmentations, centres = (list(parts) for parts in zip(*crops, strict=True))
        return {"data": images, "target": segmentations, CENTRES: centres, "keys": cases}

    def _crop(self, case: str, *, force_fg: bool) -> tuple[Tensor, Tensor, list[float]]:
        image, segmentation, _, properties = self._data.load_case(case)
        firsts, lasts = self.get_bbox(image.shape[1:], force_fg, properties["class_locations"])
        slices, centre = cut(firsts, lasts, image.shape[1:])
        return _tensor(image, slices, np.float32), _tensor(segmentation, slices, np.int16), centre


def cut(firsts: Sequence[int], lasts: Sequence[int], shape: Sequence[int]) -> Cut:
    """Return the part of a box that lies in a case.

    Args:
        firsts: first voxel along each axis, may be below 0.
        lasts: voxel after the last, may be beyond the case.
        shape: of the case.
    """
    slices = tuple(
        slice(max(first, 0), min(last, size)) for first, last, size in zip(firsts, lasts, shape, strict=True)
    )
    centre = [float((first + last) / 2 - one.start) for first, last, one in zip(firsts, lasts, slices, strict=True)]
    return Cut(slices, centre)


def _tensor(values: Any, slices: tuple[slice, ...], dtype: type[np.generic]) -> Tensor:  # noqa: ANN401 (also Blosc2's)
    """Return a part of an array, of which only that is read, in memory of its own."""
    part: NDArray[np.generic] = np.require(values[(slice(None), *slices)], dtype, ["C", "W", "O"])
    return torch.from_numpy(part)
