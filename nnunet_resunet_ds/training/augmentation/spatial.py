"""Rotate and scale what was cut out of a case, and take the patch that the network gets."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from nnunet_resunet_ds.training.augmentation.distributions import Distribution, distribution
from nnunet_resunet_ds.training.augmentation.nnunet_settings import require
from nnunet_resunet_ds.training.augmentation.random_numbers import RandomNumbers
from nnunet_resunet_ds.training.augmentation.transform import Sample

Matrix = NDArray[np.float64]
"""(3, 3): takes an offset from the centre of the patch to one in the case; voxels, axes Z, Y, X."""

OUTSIDE = -1
"""Label around a case."""
N_AXES = 3
_SCORE = 1000
"""Score of a label whose voxels surround a point. In fp16, as in batchgeneratorsv2, close scores are then ties."""


class Crop(NamedTuple):
    """What a patch is taken from: a part of a case, which ends where the case ends."""

    image: Tensor
    """(C, Z, Y, X) float."""
    segmentation: Tensor
    """(1, Z, Y, X) label values."""
    centre: Sequence[float]
    """Of the patch: voxels from the first corner of the crop, so half the size where it is in the middle."""


@dataclass(frozen=True)
class Spatial:
    """batchgeneratorsv2's ``SpatialTransform`` as nnU-Net uses it: rotation and one scale, about the centre.

    Images are interpolated linearly, with 0 around the case. A voxel gets the label of the highest linearly
    interpolated share; where shares are equal, that of the nearest voxel.
    """

    patch_size: tuple[int, ...]
    labels: tuple[int, ...]
    """Every label value that a segmentation may hold, `OUTSIDE` included, ascending."""
    p_rotation: float
    angle: Distribution
    """Radians, about each axis."""
    p_scaling: float
    scale: Distribution
    """Above 1 for more of the image in the patch."""

    @classmethod
    def like(cls, transform: Any, labels: Sequence[int]) -> "Spatial":  # noqa: ANN401 (batchgeneratorsv2 has no types)
        """Return the counterpart of nnU-Net's transform.

        Args:
            transform: batchgeneratorsv2's.
            labels: every value that a segmentation may hold inside a case.

        Raises:
            NotOnDeviceError: the patch is deformed, not about the centre, or resampled in another way.
        """
        require(
            transform,
            random_crop=False,
            p_elastic_deform=0,
            p_rot_per_axis=1,
            p_synchronize_scaling_across_axes=1,
            mode_image="bilinear",
            padding_mode_image="zeros",
            mode_seg="bilinear",
            border_mode_seg="constant",
            padding_value_seg=OUTSIDE,
            seg_tiebreak="nearest",
            align_corners=False,
        )
        return cls(
            tuple(int(size) for size in transform.patch_size),
            tuple(sorted({OUTSIDE, *labels})),
            transform.p_rotation,
            distribution(transform.rotation),
            transform.p_scaling,
            distribution(transform.scaling),
        )

    def draw(self, random: RandomNumbers) -> Matrix | None:
        """Return rotation and scaling; None where there is neither, so that nothing has to be interpolated."""
        rotates, scales = random.happens(self.p_rotation), random.happens(self.p_scaling)
        if not rotates and not scales:
            return None
        angles = [random.draw(self.angle) if rotates else 0.0 for _ in range(N_AXES)]
        return affine_matrix(angles, random.draw(self.scale) if scales else 1.0)

    def apply(self, crop: Crop, matrix: Matrix | None) -> Sample:
        """Return the patch, in tensors of its own."""
        if matrix is None:
            return Sample(
                patch_about(crop.image, crop.centre, self.patch_size, outside=0),
                patch_about(crop.segmentation, crop.centre, self.patch_size, outside=OUTSIDE),
            )
        grid = sampling_grid(matrix, self.patch_size, crop)
        image = F.grid_sample(crop.image[None], grid, align_corners=False)[0]
        return Sample(image, resampled_labels(crop.segmentation, grid, self.labels))

    def __call__(self, crop: Crop, random: RandomNumbers) -> Sample:
        """Draw rotation and scaling, and return the patch."""
        return self.apply(crop, self.draw(random))


def affine_matrix(angles: Sequence[float], scale: float) -> Matrix:
    """Return the matrix that scales and then rotates about the three axes in turn.

    Args:
        angles: radians about Z, Y and X.
        scale: of all axes.
    """
    matrix = np.eye(N_AXES) * scale
    for axis, angle in enumerate(angles):
        first, second = (axis + 1) % N_AXES, (axis + 2) % N_AXES
        turn = np.eye(N_AXES)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[second, first] = math.sin(angle)
        turn[first, second] = -math.sin(angle)
        matrix = turn @ matrix
    return matrix


def patch_about(values: Tensor, centre: Sequence[float], size: Sequence[int], *, outside: int) -> Tensor:
    """Return a copy of the patch (C, *size) about a point of values (C, Z, Y, X), with ``outside`` around them."""
    starts = [math.floor(middle) - length // 2 for middle, length in zip(centre, size, strict=True)]
    patch = values.new_full((len(values), *size), outside)
    inside, of_values = [slice(None)], [slice(None)]
    for start, length, available in zip(starts, size, values.shape[1:], strict=True):
        first = max(start, 0)
        last = max(first, min(start + length, available))
        of_values.append(slice(first, last))
        inside.append(slice(first - start, last - start))
    patch[tuple(inside)] = values[tuple(of_values)]
    return patch


def sampling_grid(matrix: Matrix, size: Sequence[int], crop: Crop) -> Tensor:
    """Return where to sample a crop for a patch: (1, *size, 3) as `torch.nn.functional.grid_sample` takes it.

    The matrix goes to the device as arguments of kernels, number by number, so that nothing has to be copied.
    """
    offsets = [
        torch.linspace((1 - length) / 2, (length - 1) / 2, length, device=crop.image.device).view(
            *(-1 if axis == own else 1 for own in range(N_AXES))
        )
        for axis, length in enumerate(size)
    ]
    coordinates = []
    for row, middle, available in zip(matrix.tolist(), crop.centre, crop.image.shape[1:], strict=True):
        to_grid = 2 / available
        z, y, x = (offset * (factor * to_grid) for offset, factor in zip(offsets, row, strict=True))
        coordinates.append(z + y + (x + (middle * to_grid - 1)))
    return torch.stack(coordinates[::-1], dim=-1)[None]


def resampled_labels(segmentation: Tensor, grid: Tensor, labels: Sequence[int]) -> Tensor:
    """Return the label of each point of a grid: the one with the highest interpolated share.

    Args:
        segmentation: (1, Z, Y, X) label values; around it all is `OUTSIDE`.
        grid: (1, Z', Y', X', 3).
        labels: every value there may be, `OUTSIDE` included, ascending. Of equal shares that are not the nearest
            voxel's, the lowest label wins.

    Returns:
        (1, Z', Y', X') of the same type.
    """
    nearest = F.grid_sample(segmentation[None].float() - OUTSIDE, grid, mode="nearest", align_corners=False)[0]
    nearest = (nearest + OUTSIDE).to(segmentation.dtype)
    scores = _scores(segmentation, grid, labels)
    winner, best, of_nearest = torch.full_like(nearest, labels[0]), scores[:1], scores[:1]
    for label, score in zip(labels[1:], scores[1:, None], strict=True):
        of_nearest = torch.where(nearest == label, score, of_nearest)
        winner.masked_fill_(score > best, label)
        best = torch.maximum(best, score)
    return torch.where(of_nearest == best, nearest, winner)


def _scores(segmentation: Tensor, grid: Tensor, labels: Sequence[int]) -> Tensor:
    """Return the interpolated share of each label (L, Z', Y', X'), times `_SCORE`; the first one is `OUTSIDE`."""
    shares = torch.cat([segmentation == label for label in labels]).float().mul_(_SCORE)
    shares[0] -= _SCORE  # grid_sample has 0 around, which is to be all of OUTSIDE: shifted, and shifted back
    scores = F.grid_sample(shares[None], grid, align_corners=False)[0]
    scores[0] += _SCORE
    return scores.to(torch.float16)
