"""Draw volumes as pictures for the browser: all axial slices side by side in one compressed image."""

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.evaluation.hausdorff import box_around

Volume = NDArray[np.generic]
Spacing = tuple[float, float, float]

DEFAULT_QUALITY = 15
"""Quality of WebP, 1 to 100; at 15 a BraTS case of four modalities takes about half a megabyte."""
LABEL_STEP = 60
"""Largest difference between the grey values of two labels: a browser that adds noise still shows the right one."""
_WHITE = 255
_DARKEST, _BRIGHTEST = 0.5, 99.7
"""Percentiles of the brain's intensities that are shown black and white."""
_METHOD = 4
"""Effort of WebP to compress well, 0 to 6."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of one case for its viewer; volumes are (Z, Y, X) of ``shape``."""

    shape: tuple[int, int, int]
    spacing: Spacing
    """In mm, in the same order."""
    columns: int
    """Slices in a row of each picture."""
    origin: tuple[int, int, int]
    """Index of the first voxel in the volumes that were given."""
    images: dict[str, str]
    """Modality → data URL."""
    labels: dict[str, str]
    """``prediction``, and where given ``reference`` and ``before`` (post-processing) → data URL."""
    maps: dict[str, str]
    """Region → data URL of its entropy, where prediction wrote it: 0 to 1 bit as 0 to 255."""
    label_step: int = LABEL_STEP
    """Between the grey values of two labels."""


def make_pictures(
    images: Mapping[str, Volume],
    labels: Mapping[str, NDArray[np.integer]],
    maps: Mapping[str, NDArray[np.floating]],
    spacing: Spacing,
    quality: int = DEFAULT_QUALITY,
) -> Pictures:
    """Crop volumes to the brain and to all labels, and compress them to pictures.

    Args:
        images: modality → intensities (Z, Y, X), the background 0.
        labels: name → label values of the same shape.
        maps: region → entropy of the same shape, in bits.
        spacing: in mm, in axis order.
        quality: of the images, 1 to 100; labels are compressed without loss.

    Raises:
        InputError: a label is too large for a grey value.
    """
    largest = max(int(volume.max(initial=0)) for volume in labels.values())
    if largest > _WHITE:
        msg = f"a label map has the label {largest}, and pictures show labels up to {_WHITE}: give it smaller labels"
        raise InputError(msg)
    step = min(LABEL_STEP, _WHITE // max(largest, 1))
    box = _box([*images.values(), *labels.values()])
    shape = tuple(side.stop - side.start for side in box)
    columns = max(1, round(math.sqrt(shape[0] * shape[1] / shape[2])))
    return Pictures(
        shape=(shape[0], shape[1], shape[2]),
        spacing=spacing,
        columns=columns,
        origin=(box[0].start, box[1].start, box[2].start),
        images={
            name: _data_url(side_by_side(grey_values(volume[box]), columns), quality) for name, volume in images.items()
        },
        labels={
            name: _data_url(side_by_side((volume[box] * step).astype(np.uint8), columns), None)
            for name, volume in labels.items()
        },
        maps={
            name: _data_url(side_by_side(_grey_entropy(volume[box]), columns), quality) for name, volume in maps.items()
        },
        label_step=step,
    )


def _grey_entropy(bits: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return 0 to 1 bit as 0 to 255."""
    grey: NDArray[np.uint8] = np.rint(np.clip(bits, 0, 1) * _WHITE).astype(np.uint8)
    return grey


def grey_values(volume: Volume) -> NDArray[np.uint8]:
    """Return intensities as 0 to 255, spread over those of the brain; the background stays 0."""
    brain = volume[volume != 0]
    if not brain.size:
        return np.zeros(volume.shape, np.uint8)
    low, high = np.percentile(brain, (_DARKEST, _BRIGHTEST))
    scaled = np.clip((volume.astype(np.float32) - low) * (255 / max(high - low, 1e-6)), 0, 255)
    return np.where(volume != 0, scaled, 0).astype(np.uint8)


def side_by_side(volume: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Lay the slices of a volume (Z, Y, X) out in rows of ``columns``."""
    n, height, width = volume.shape
    rows = math.ceil(n / columns)
    full = np.zeros((rows * columns, height, width), np.uint8)
    full[:n] = volume
    return full.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)


def _data_url(picture: NDArray[np.uint8], quality: int | None) -> str:
    """Return a picture as WebP in a URL; ``quality`` None compresses without loss."""
    stream = io.BytesIO()
    settings = {"lossless": True} if quality is None else {"quality": quality}
    Image.fromarray(picture).save(stream, "WEBP", method=_METHOD, **settings)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _box(volumes: list[Volume]) -> tuple[slice, ...]:
    """Return the box around all voxels that are not 0 in any of the volumes; the whole volume where all are 0."""
    something = np.logical_or.reduce([volume != 0 for volume in volumes])
    if not something.any():
        something[:] = True
    return box_around(something)
