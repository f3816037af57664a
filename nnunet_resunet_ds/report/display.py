"""Bring volumes to the orientation that is shown."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from nnunet_resunet_ds.report.pictures import Spacing

DISPLAYED = "LPS"
"""Orientation of what is shown: right of the patient on the left, as radiologists look at it."""


def voxel_volume(grid: sitk.Image) -> float:
    """Return mm³."""
    return float(np.prod(grid.GetSpacing()))


def as_displayed(volumes: Mapping[str, NDArray[Any]], grid: sitk.Image) -> dict[str, NDArray[Any]]:
    """Bring volumes (Z, Y, X) on one grid to the orientation that is shown."""
    displayed = {}
    for name, volume in volumes.items():
        image = sitk.GetImageFromArray(volume)
        image.CopyInformation(grid)
        displayed[name] = sitk.GetArrayFromImage(sitk.DICOMOrient(image, DISPLAYED))
    return displayed


def displayed_spacing(grid: sitk.Image) -> Spacing:
    """Return the spacing in mm of the orientation that is shown, in axis order."""
    x, y, z = sitk.DICOMOrient(grid, DISPLAYED).GetSpacing()
    return z, y, x
