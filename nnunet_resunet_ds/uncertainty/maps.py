"""Write maps of how sure a prediction is: one file for each region, on the grid of the images."""

import struct
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from nnunet_resunet_ds.base.files import FILE_ENDING, replacing
from nnunet_resunet_ds.base.regions import Region

FOLDER = "uncertainty"
"""In that of the label maps, so that no command takes a map for one of these."""
ENTROPY, VARIANCE = "entropy", "variance"
LARGEST: Mapping[str, float] = {ENTROPY: 1.0, VARIANCE: 0.25}
"""Value that each kind of map can have at most: bits, and the variance of what is 0 or 1."""
MAPS = "uncertainty_maps"
"""Of a case in ``run.json``: the names of its files, from the folder of the label maps on."""
_STEPS = np.iinfo(np.uint16).max
"""Between 0 and the largest value."""
_SLOPE_AT = 112
"""Byte of the NIfTI header where ``scl_slope`` stands, what stored values are multiplied with."""
_HEADER_BYTES = 352
"""With the four that say that no extension follows."""
_FAST_COMPRESSION = 1
_GZIP = 31
"""zlib's number for gzip with its header and checksum."""


def map_file(folder: Path, case_id: str, region: str, kind: str) -> Path:
    """Return where a map of a case goes.

    Args:
        folder: of the label maps.
        case_id: of the case.
        region: its name; signs that are neither letters nor numbers become ``_``.
        kind: `ENTROPY` or `VARIANCE`.
    """
    word = "".join(sign if sign.isalnum() else "_" for sign in region)
    return folder / FOLDER / f"{case_id}_{word}_{kind}{FILE_ENDING}"


def write_maps(
    folder: Path,
    case_id: str,
    regions: Sequence[Region],
    maps: Mapping[str, NDArray[np.floating]],
    grid: sitk.Image,
) -> None:
    """Write maps as NIfTI files of 16 bits a voxel, with a slope that every reader applies.

    NIfTI has no fp16; these whole numbers take as little room and are as exact.

    Args:
        folder: of the label maps.
        case_id: of the case.
        regions: in the order of the maps.
        maps: kind → values (R, Z, Y, X), from 0 to `LARGEST`.
        grid: where the images lie.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    header = _header(grid)
    for kind, of_regions in maps.items():
        step = LARGEST[kind] / _STEPS
        struct.pack_into("<f", header, _SLOPE_AT, step)
        for region, values in zip(regions, of_regions, strict=True):
            with replacing(map_file(folder, case_id, region.name, kind)) as temporary:
                temporary.write_bytes(_packed(header, _counted(values, step)))


def _header(grid: sitk.Image) -> bytearray:
    """Return the NIfTI header of 16-bit whole numbers on a grid."""
    image = sitk.Image(grid.GetSize(), sitk.sitkUInt16)
    image.CopyInformation(grid)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "map.nii"
        sitk.WriteImage(image, str(file))
        with file.open("rb") as stream:
            return bytearray(stream.read(_HEADER_BYTES))


def _counted(values: NDArray[np.floating], step: float) -> NDArray[np.uint16]:
    """Return values in steps; those of less than half a step, most of them, take no time."""
    counted = np.zeros(values.shape, "<u2")
    counts = values >= step / 2
    counted[counts] = np.rint(values[counts] / step)
    return counted


def _packed(header: bytearray, values: NDArray[np.uint16]) -> bytes:
    """Return a gzip file of a header and the values after it."""
    packing = zlib.compressobj(_FAST_COMPRESSION, wbits=_GZIP)
    return packing.compress(header) + packing.compress(values.reshape(-1).data) + packing.flush()


def remove_maps(folder: Path, case_id: str, regions: Sequence[Region]) -> None:
    """Remove the maps of a case, those of an earlier label map."""
    for region in regions:
        for kind in (ENTROPY, VARIANCE):
            map_file(folder, case_id, region.name, kind).unlink(missing_ok=True)
