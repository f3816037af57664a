"""Bring one case into the network's space and back, with nnU-Net's own functions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import insert_crop_into_image
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from numpy.typing import NDArray
from torch import Tensor

from dataset_conversion.image_cases import Images
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.reader_space import Turn, turn_of_reader
from nnunet_resunet_ds.base.setting_checks import check_positive
from nnunet_resunet_ds.inference.model import Model

MAX_SPACING_RATIO = 20
"""Between a case and the plans; thick slices are 6 to 10 mm, so more is a wrong unit."""

Box = tuple[slice, ...]
"""Of (Z, Y, X)."""
Probabilities = NDArray[np.float32]
"""(R, Z, Y, X), a region an output: WT, TC, ET, then further ones, or those of another dataset."""


@dataclass(frozen=True)
class Preprocessed:
    """One case in the network's space."""

    data: Tensor
    """(C, Z, Y, X), transposed, cropped to the non-zero part, normalised and resampled as the plans say."""
    properties: dict[str, Any]
    """What nnU-Net needs for the way back: spacing, shapes and crop."""
    turn: Turn
    """From the axes of the images to those that the model's reader gives."""

    @property
    def is_resampled(self) -> bool:
        """Whether the case has another spacing than the plans."""
        return tuple(self.data.shape[1:]) != tuple(self.properties["shape_after_cropping_and_before_resampling"])


def preprocess(model: Model, images: Images, spacing: Sequence[float], grid: sitk.Image | None = None) -> Preprocessed:
    """Bring a checked case into the network's space.

    Where resampling rings into the background, the salient channel needs it set back to 0, as in training (decision
    D4); other networks get what ``nnUNetv2_predict`` would give them.

    Args:
        model: that is to predict it.
        images: (C, Z, Y, X).
        spacing: mm in axis order (Z, Y, X).
        grid: where the images lie; None: their axes are already those that the model's reader gives.
    """
    turn = Turn() if grid is None else turn_of_reader(model.reader, grid)
    images, spacing = turn.to_reader(np.asarray(images)), turn.reordered(spacing)
    _check_spacing(model, images.shape[1:], spacing)
    preprocessor = model.configuration.preprocessor_class(verbose=False)
    box = _nonzero_box(images) if type(preprocessor) is DefaultPreprocessor else (slice(None),) * 3
    properties = {"spacing": [float(value) for value in spacing]}
    data, mask, properties = preprocessor.run_case_npy(
        images[(slice(None), *box)], None, properties, model.plans, model.configuration, model.dataset_json
    )
    _count_from_whole_image(properties, box, images.shape[1:], model.plans.transpose_forward)
    if model.has_salient_channel:
        data[:, mask[0] < 0] = 0
    return Preprocessed(torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32)), properties, turn)


def _nonzero_box(images: Images) -> Box:
    """Return the box (Z, Y, X) of voxels that are not zero in all images, and one voxel around it.

    nnU-Net itself crops to the non-zero voxels, after it has filled holes in the whole volume, which takes longer than
    all else. No hole reaches out of this box, so that within it the result is the same. The voxel around lets NumPy add
    up in the same order, so that it is the same bit for bit.
    """
    mask = (images != 0).any(axis=0)
    box = []
    for axis in range(3):
        found = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        box.append(slice(max(int(found[0]) - 1, 0), int(found[-1]) + 2) if len(found) else slice(None))
    return tuple(box)


def _count_from_whole_image(
    properties: dict[str, Any], box: Box, shape: Sequence[int], transpose_forward: Sequence[int]
) -> None:
    """Change nnU-Net's notes of the cropping: it saw a box, and they must count from the corner of the images."""
    offsets = [int(box[axis].start or 0) for axis in transpose_forward]
    properties["shape_before_cropping"] = tuple(shape[axis] for axis in transpose_forward)
    properties["bbox_used_for_cropping"] = [
        [start + offset, end + offset]
        for (start, end), offset in zip(properties["bbox_used_for_cropping"], offsets, strict=True)
    ]


def restore(model: Model, outputs: Tensor, case: Preprocessed, *, are_logits: bool) -> Probabilities:
    """Bring the network's outputs (R, Z, Y, X) back onto the voxels of the images, as probabilities.

    Args:
        model: whose outputs.
        outputs: averaged probabilities, or logits.
        case: what was put in.
        are_logits: which of the two; the sigmoid comes after resampling, as in nnU-Net.
    """
    properties = case.properties
    spacing = [properties["spacing"][axis] for axis in model.plans.transpose_forward]
    resampled = torch.as_tensor(
        model.configuration.resampling_fn_probabilities(
            outputs.float().cpu(),
            properties["shape_after_cropping_and_before_resampling"],
            model.configuration.spacing,
            spacing,
        )
    )
    probabilities = resampled.sigmoid() if are_logits else resampled.clamp(0, 1)
    whole = np.zeros((len(probabilities), *properties["shape_before_cropping"]), np.float32)
    whole = insert_crop_into_image(whole, probabilities.numpy(), properties["bbox_used_for_cropping"])
    return case.turn.to_file(whole.transpose([0, *(axis + 1 for axis in model.plans.transpose_backward)]))


def check_images(
    images: Images, spacing: Sequence[float], channels: Sequence[str], absent: Collection[str] = ()
) -> None:
    """Refuse arrays that are not the images of one case.

    Args:
        images: what should be (C, Z, Y, X).
        spacing: what should be mm in axis order (Z, Y, X).
        channels: the model's.
        absent: those of them that the case lacks: their images are zero, and no others.

    Raises:
        InputError: wrong number of axes or channels, values that are not real and finite, nothing but zeros, no
            spacing, or absent channels that the model does not have, that are all it has, or that are not zero.
    """
    check_absent(absent, channels)
    if images.ndim != 4 or len(images) != len(channels):
        msg = (
            f"the images must be ({len(channels)}, Z, Y, X), one channel each of {', '.join(channels)}; got shape "
            f"{images.shape}"
        )
        raise InputError(msg)
    if images.dtype.kind not in "biuf":  # a complex number would lose its imaginary part without a word
        msg = f"the images must be real numbers; got {images.dtype}"
        raise InputError(msg)
    if np.shape(spacing) != (3,):
        msg = f"the spacing must be three numbers, mm in axis order (Z, Y, X); got {spacing!r}"
        raise InputError(msg)
    for value in spacing:
        check_positive("each number of the spacing", float(value))
    for name, values in zip(channels, images, strict=True):
        if not np.isfinite([values.min(), values.max()]).all():  # NaN goes through both
            msg = f"{name} has NaN or infinite values; set them to the background, 0"
            raise InputError(msg)
        if name not in absent and not values.any():
            msg = f"{name} is zero everywhere; all of {', '.join(channels)} are needed, or name it as absent"
            raise InputError(msg)
        if name in absent and values.any():
            msg = f"{name} is named as absent, and its image is not zero: give zeros, or leave the name out"
            raise InputError(msg)


def check_absent(absent: Collection[str], channels: Sequence[str]) -> None:
    """Refuse absent channels that a model does not have, or that are all it has.

    Raises:
        InputError: naming them.
    """
    unknown = [name for name in absent if name not in channels]
    if unknown or (absent and set(absent) == set(channels)):
        read = ", ".join(channels)
        msg = f"absent are {', '.join(absent)}, and the model reads {read}: name some of these, and not all"
        raise InputError(msg)


def with_absent(images: Images, channels: Sequence[str], absent: Collection[str]) -> Images:
    """Return the images of all channels (C, Z, Y, X), with zeros for those that a case lacks.

    Args:
        images: of the other channels, in order.
        channels: the model's.
        absent: those of them that the case lacks.
    """
    there = iter(images)
    zeros = np.zeros_like(images[0])
    return np.stack([zeros if name in absent else next(there) for name in channels])


def _check_spacing(model: Model, shape: Sequence[int], spacing: Sequence[float]) -> None:
    """Refuse a spacing that would make the volume explode or vanish."""
    axes = model.plans.transpose_forward
    target = [model.configuration.spacing[axes.index(axis)] for axis in range(3)]
    ratios = [own / other for own, other in zip(spacing, target, strict=True)]
    vanishes = any(size * ratio < 1 for size, ratio in zip(shape, ratios, strict=True))
    if vanishes or not 1 / MAX_SPACING_RATIO <= min(ratios) <= max(ratios) <= MAX_SPACING_RATIO:
        given, trained = (" × ".join(f"{value:g}" for value in values) for values in (spacing, target))
        msg = f"its spacing is {given} mm (z, y, x), and the model's {trained}: correct it in the image headers"
        raise InputError(msg)
