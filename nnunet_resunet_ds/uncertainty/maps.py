"""Write maps of how sure a prediction is: one file for each region, on the grid of the images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from nnunet_resunet_ds.base.images import write_image
from nnunet_resunet_ds.base.regions import Region

FOLDER = "uncertainty"
"""In that of the label maps, so that no command takes a map for one of these."""
ENTROPY, VARIANCE = "entropy", "variance"
MAPS = "uncertainty_maps"
"""Of a case in ``run.json``: the names of its files, from the folder of the label maps on."""
_ENDING = ".nii.gz"


def map_file(folder: Path, case_id: str, region: str, kind: str) -> Path:
    """Return where a map of a case goes.

    Args:
        folder: of the label maps.
        case_id: of the case.
        region: its name; signs that are neither letters nor numbers become ``_``.
        kind: `ENTROPY` or `VARIANCE`.
    """
    word = "".join(sign if sign.isalnum() else "_" for sign in region)
    return folder / FOLDER / f"{case_id}_{word}_{kind}{_ENDING}"


def write_maps(
    folder: Path,
    case_id: str,
    regions: Sequence[Region],
    maps: Mapping[str, NDArray[np.floating]],
    grid: sitk.Image,
) -> None:
    """Write maps as NIfTI files of fp32, rounded to the precision of fp16: NIfTI has no fp16, and zeros pack well.

    Args:
        folder: of the label maps.
        case_id: of the case.
        regions: in the order of the maps.
        maps: kind → values (R, Z, Y, X).
        grid: where the images lie.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    for kind, of_regions in maps.items():
        for region, values in zip(regions, of_regions, strict=True):
            image = sitk.GetImageFromArray(values.astype(np.float16).astype(np.float32))
            image.CopyInformation(grid)
            write_image(image, map_file(folder, case_id, region.name, kind))


def remove_maps(folder: Path, case_id: str, regions: Sequence[Region]) -> None:
    """Remove the maps of a case, those of an earlier label map."""
    for region in regions:
        for kind in (ENTROPY, VARIANCE):
            map_file(folder, case_id, region.name, kind).unlink(missing_ok=True)
