"""Say in words what false and missed lesions there are, and where the viewer finds them."""

from collections.abc import Sequence
from dataclasses import dataclass

import SimpleITK as sitk

from nnunet_resunet_ds.evaluation.unmatched_lesions import UnmatchedLesion
from nnunet_resunet_ds.report.display import DISPLAYED, voxel_volume
from nnunet_resunet_ds.report.pictures import Pictures

_LEAST_IN_ML = 5.0
"""Mm³ from which a volume is more than 0.00 ml."""


@dataclass(frozen=True)
class ShownLesion:
    """A false or missed lesion, and where the viewer finds it."""

    text: str
    place: tuple[int, int, int] | None
    """Index of a voxel of it in the pictures, (Z, Y, X); None without pictures."""


def shown_lesions(lesions: Sequence[UnmatchedLesion], grid: sitk.Image, pictures: Pictures | None) -> list[ShownLesion]:
    """Return lesions in words, and where the pictures show them.

    Args:
        lesions: on the grid of the label map.
        grid: its image.
        pictures: None where there are none.
    """
    if pictures is None or not lesions:
        return [ShownLesion(_told(lesion, voxel_volume(grid)), None) for lesion in lesions]
    displayed = sitk.DICOMOrient(grid, DISPLAYED)
    first = pictures.origin
    shown = []
    for lesion in lesions:
        point = grid.TransformIndexToPhysicalPoint((lesion.x, lesion.y, lesion.z))
        x, y, z = displayed.TransformPhysicalPointToIndex(point)
        text = _told(lesion, voxel_volume(grid))
        shown.append(ShownLesion(text, (z - first[0], y - first[1], x - first[2])))
    return shown


def _told(lesion: UnmatchedLesion, of_voxel: float) -> str:
    """Return what the viewer says of a lesion; it explains the coordinates, which name no side of the brain."""
    peak = "" if lesion.peak_probability is None else f", peak probability {lesion.peak_probability:.2f}"
    place = ", ".join(f"{axis} {value:.0f}" for axis, value in zip("xyz", lesion.position, strict=True))
    return f"{lesion.kind} {lesion.region}: {_size(lesion.volume, of_voxel)}{peak}, at {place} mm"


def _size(volume: float, of_voxel: float) -> str:
    """Return a volume in ml, or in voxels where it is too small for two digits of ml."""
    if volume >= _LEAST_IN_ML:
        return f"{volume / 1000:.2f} ml"
    n = round(volume / of_voxel)
    return f"{n} voxel{'s' if n > 1 else ''}"
