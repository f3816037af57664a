"""Bringing an image file into the dataset: linked or copied where it is fit for nnU-Net, rewritten where it is not."""

import gzip
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import SimpleITK as sitk

from dataset_conversion.channels import read_channels
from dataset_conversion.edition import Edition
from dataset_conversion.inspection import Fixes
from dataset_conversion.intensity import without_fill
from dataset_conversion.scan import RawCase
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import link_or_copy, replacing
from nnunet_resunet_ds.base.images import read_image, write_image
from nnunet_resunet_ds.base.nifti_check import is_gzip
from nnunet_resunet_ds.base.reader_space import turned_onto
from nnunet_resunet_ds.base.setting_checks import check_choice

Placement = Literal["hardlink", "symlink", "copy"]
"""What is done with image files that nnU-Net can take as they are."""


def check_placement(placement: str) -> None:
    """Refuse anything but a `Placement`.

    Raises:
        InputError: with what was got and what is valid.
    """
    check_choice("the placement of images", placement, get_args(Placement))


def place_images(
    case: RawCase, edition: Edition, fixes: Fixes, destinations: Mapping[str, Path], placement: Placement
) -> None:
    """Bring the images of a complete case to their destinations.

    Args:
        case: whose images.
        edition: of the case.
        fixes: what must be mended.
        destinations: channel name → file to be made.
        placement: of files that are fit; a hard link that the file system refuses becomes a copy.
    """
    for path in dict.fromkeys(case.images.values()):
        channels = [channel for channel in destinations if case.images[channel] == path]
        if not edition.volumes and fixes.is_fit(path) and not any(name in fixes.fills for name in channels):
            for channel in channels:
                _place(path, destinations[channel], placement)
            continue
        images = read_channels(path, case, edition)
        geometry = images[channels[0]] if fixes.has_own_grid(path) else read_geometry(case, edition, fixes)
        for channel in channels:
            image = turned_as_found(images[channel], geometry, path) if path in fixes.turned else images[channel]
            write_image(_mended(image, geometry, fixes.fills.get(channel)), destinations[channel])


def read_geometry(case: RawCase, edition: Edition, fixes: Fixes) -> sitk.Image:
    """Read a 3-D image of the case that lies on its grid and says so."""
    path = next(path for path in case.files if fixes.has_own_grid(path))
    if path == case.segmentation:
        return read_image(path)
    return next(iter(read_channels(path, case, edition).values()))


def turned_as_found(image: sitk.Image, geometry: sitk.Image, path: Path) -> sitk.Image:
    """Turn an image of a file that the inspection found to be turned.

    Raises:
        InputError: it is so no more.
    """
    turned = turned_onto(image, geometry)
    if turned is None:
        msg = f"{path}: has changed since it was checked; convert again"
        raise InputError(msg)
    return turned


def _mended(image: sitk.Image, geometry: sitk.Image, fill: float | None) -> sitk.Image:
    values = sitk.GetArrayViewFromImage(image)
    mended = sitk.GetImageFromArray(values if fill is None else without_fill(values, fill))
    mended.CopyInformation(geometry)
    return mended


def _place(source: Path, destination: Path, placement: Placement) -> None:
    with replacing(destination) as temporary:
        if not is_gzip(source):
            temporary.write_bytes(gzip.compress(source.read_bytes(), compresslevel=6, mtime=0))
        elif placement == "symlink":
            temporary.symlink_to(source.resolve())
        elif placement == "copy":
            shutil.copyfile(source, temporary)
        else:
            link_or_copy(source, temporary)
