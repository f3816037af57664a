"""Read and write NIfTI images with SimpleITK, and compare where they lie in space."""

import errno
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import replacing
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.nifti_check import (
    MAX_UNPACKED_BYTES,
    check_bytes,
    is_gzip,
    is_whole,
    read_bytes,
    seal_of,
    unpacked,
)
from nnunet_resunet_ds.base.orientation import MAX_SHEAR, axes_of, header_orientation, shear, straightened, with_sform

_KEY = "resunet_ds_notes"
MAX_OFF = 1e-3
"""How far a value may be from a whole number: resampling and scaling turn 4 into 3.9999998."""
_MAX_LABEL = 2**31
"""Beyond it is no label, infinity among others."""
GEOMETRY_TOLERANCE = 1e-3
"""Largest difference of spacing and origin in mm, and of direction cosines, that counts as the same geometry."""
_NOT_ORTHONORMAL = "orthonormal direction cosines"
_MAX_OVERLOOKED = 1e-4
"""Cosine of the angle between two axes beyond which ITK refuses an sform, or takes the qform without a word."""
_STRAIGHTENED = "axes put at right angles"
_NO_MEMORY = ("bad_alloc", "Failed to allocate memory")
"""How ITK says so."""


def add_note(image: sitk.Image, note: str) -> None:
    """Keep ``KIND: detail`` with an image, after what is kept there already."""
    image.SetMetaData(_KEY, "\n".join([*notes_of(image), note]))


def notes_of(image: sitk.Image) -> list[str]:
    """Return what was kept with an image."""
    return image.GetMetaData(_KEY).splitlines() if image.HasMetaDataKey(_KEY) else []


def whole_numbers(values: NDArray[Any]) -> NDArray[np.integer] | None:
    """Return values of any shape as whole numbers; None where one is not within `MAX_OFF` of any, or is no label."""
    if np.issubdtype(values.dtype, np.integer):
        return values
    if not np.issubdtype(values.dtype, np.floating) or not np.abs(values).max(initial=0) <= _MAX_LABEL:  # nor NaN
        return None
    rounded = np.rint(values)
    return rounded.astype(np.int64) if np.abs(rounded - values).max(initial=0) <= MAX_OFF else None


def make_itk_globals() -> None:
    """Use SimpleITK once in each way that makes global objects; takes about 7 ms, and nothing when called again."""
    sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ImageFileReader().GetRegisteredImageIOs()  # one reader of each format, as reading a file makes them
    filtering = sitk.FlipImageFilter()  # any filter
    filtering.SetNumberOfWorkUnits(1)  # or its own two threads would make them at once
    filtering.Execute(sitk.Image([2, 2, 2], sitk.sitkUInt8))


make_itk_globals()  # at import, which Python does in one thread: no thread of any executor reads an image before


def read_image(path: Path, content: bytes | None = None) -> sitk.Image:
    """Read a NIfTI file whole, gzipped or not, whatever its ending says. The file is opened once.

    Axes that are not quite at right angles are straightened, with a note that `notes_of` returns.

    Args:
        path: of the file.
        content: its bytes, where they have been read already.

    Raises:
        InputError: the file is missing, truncated, too large, not an image, holds NaN, has several values a voxel, or
            axes far from right angles.
    """
    LOG.debug("reading %s", path)
    image = _checked_image(read_bytes(path) if content is None else content, path)
    if image.GetNumberOfComponentsPerPixel() != 1:
        msg = f"{path}: has {image.GetNumberOfComponentsPerPixel()} values a voxel; give one file a modality"
        raise InputError(msg)
    if "complex" in image.GetPixelIDTypeAsString():
        msg = f"{path}: its voxels are complex numbers; give magnitude images"
        raise InputError(msg)
    return image


def _checked_image(content: bytes, path: Path) -> sitk.Image:
    """Return the image that bytes hold; what is wrong with the bytes as such is said before anything else."""
    seal = seal_of(content)
    if seal is None:
        check_bytes(content, path)
    try:
        image = _read_straight(content, path)
    except (RuntimeError, InputError) as error:
        if seal:
            check_bytes(content, path)
        raise error if isinstance(error, InputError) else _not_an_image(path, error) from error
    if seal and not seal.fits(sitk.GetArrayViewFromImage(image)):
        check_bytes(content, path)
    return image


def _not_an_image(path: Path, error: RuntimeError) -> Exception:
    if any(sign in str(error) for sign in _NO_MEMORY):
        return MemoryError()
    reason = str(error).strip().splitlines()[-1].partition(" for ")[0]  # the rest names a file of ours
    return InputError(f"{path}: not a readable NIfTI image ({reason}); write it again with the program that made it")


def read_labels(path: Path, content: bytes | None = None) -> tuple[sitk.Image, NDArray[np.integer]]:
    """Read a label map and its values (Z, Y, X) as whole numbers, rounded where they are all but whole, with a note.

    Args:
        path: of the file.
        content: its bytes, where they have been read already.

    Raises:
        InputError: the file cannot be read, is not 3-D, or a value is not a whole number.
    """
    image = read_image(path, content)
    if image.GetDimension() != 3:
        msg = f"{path}: has {image.GetDimension()} dimensions; a label map has 3"
        raise InputError(msg)
    values = label_values(image, path)
    stored = sitk.GetArrayViewFromImage(image)
    off = 0.0 if np.issubdtype(stored.dtype, np.integer) else float(np.abs(values - stored).max(initial=0))
    if off:
        add_note(image, f"rounded: label values of {path.name} were up to {off:.1g} off whole numbers")
        LOG.info("%s: label values were up to %.1g off whole numbers, and were rounded", path, off)
    return image, values


def label_values(image: sitk.Image, path: Path) -> NDArray[np.integer]:
    """Return the values (Z, Y, X) of a label map as whole numbers.

    Raises:
        InputError: a value is not a whole number.
    """
    values = whole_numbers(sitk.GetArrayFromImage(image))
    if values is None:
        msg = f"{path}: label values are not whole numbers; is this an image instead of a label map?"
        raise InputError(msg)
    return values


def write_labels(labels: NDArray[np.uint8], geometry: sitk.Image, path: Path) -> None:
    """Write labels (Z, Y, X) with the geometry of another image of the same size, as `write_image` does."""
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(geometry)
    write_image(image, path)


def write_image(image: sitk.Image, path: Path) -> None:
    """Write an image, atomically.

    Raises:
        OSError: the file could not be written whole; SimpleITK would not say so on a full disk.
    """
    with replacing(path) as temporary:
        _write(image, temporary, path)
    LOG.debug("wrote %s", path)


def _write(image: sitk.Image, file: Path, named: Path) -> None:
    try:
        sitk.WriteImage(image, str(file))
        whole = is_whole(file)
    except RuntimeError as error:
        raise _not_written(named) from error
    if not whole:
        raise _not_written(named)


def image_file(image: sitk.Image) -> bytes:
    """Return the bytes of the ``.nii.gz`` file that `write_image` makes of an image."""
    with _temporary_files(), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.nii.gz"
        _write(image, file, file)
        return file.read_bytes()


@contextmanager
def _temporary_files() -> Iterator[None]:
    """Say of an OSError in the block that it is of the folder for temporary files, and what to do."""
    try:
        yield
    except OSError as error:
        what = f"{error.strerror}; temporary files are written there: make space, or set TMPDIR to another folder"
        raise OSError(error.errno, what, tempfile.gettempdir()) from error


def _not_written(path: Path) -> OSError:
    return OSError(errno.EIO, "could not be written whole; is the disk full or the folder read-only?", str(path))


def has_place(image: sitk.Image) -> bool:
    """Tell whether a NIfTI header says where the image lies, by a qform or an sform; other formats always do."""
    codes = [image.GetMetaData(key) for key in ("qform_code", "sform_code") if image.HasMetaDataKey(key)]
    return not codes or any(int(code) for code in codes)


def geometry_difference(first: sitk.Image, second: sitk.Image, *, voxels_only: bool = False) -> str | None:
    """Say in which way two images do not lie on the same voxel grid; None where they do.

    Args:
        first: of the two.
        second: to compare with.
        voxels_only: compare size and spacing alone, for images that do not say where they lie.
    """
    if first.GetSize() != second.GetSize():
        return f"size {first.GetSize()} instead of {second.GetSize()}"
    for name in ("Spacing",) if voxels_only else ("Spacing", "Origin", "Direction"):
        a, b = (getattr(image, f"Get{name}")() for image in (first, second))
        if not all(abs(one - other) <= GEOMETRY_TOLERANCE for one, other in zip(a, b, strict=True)):  # nor NaN
            return f"{name.lower()} {shortened(a)} instead of {shortened(b)}"
    return None


def shortened(values: tuple[float, ...]) -> str:
    """Return numbers as a person writes them."""
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"


def _read_straight(content: bytes, path: Path) -> sitk.Image:
    """Read an image; where the axes of its sform are not at right angles, by its qform or the nearest right ones."""
    try:
        image = _read_alone(content, path)
    except RuntimeError as error:
        if _NOT_ORTHONORMAL not in str(error):
            raise
        check_bytes(content, path)  # ITK has read the header alone
        return _straightened(unpacked(content), path)
    axes = _axes_of_sform(image)
    if axes is not None and shear(axes) > _MAX_OVERLOOKED:
        why = f"the axes of its sform are off the right angle by {shear(axes):.2g}"
        add_note(image, f"{_STRAIGHTENED}: {path.name} was read by its qform, {why}")
    return image


def _straightened(content: bytes, path: Path) -> sitk.Image:
    """Read an image that has nothing but an sform whose axes are not at right angles.

    Raises:
        InputError: they are far from it.
    """
    stored = header_orientation(content)
    axes = axes_of(stored.sform)
    if axes is None or shear(axes) > MAX_SHEAR:
        off = "" if axes is None else f" ({math.degrees(math.asin(min(1, shear(axes)))):.2g}° off the right angle)"
        msg = (
            f"{path}: its orientation matrix (sform) is not orthonormal{off}, and there is no qform; resample it onto "
            "the grid of another image of the case, for example with nibabel.processing.resample_from_to"
        )
        raise InputError(msg)
    image = _read_alone(with_sform(content, straightened(stored.sform, stored.spacing)), path)
    why = f"off the right angle by {shear(axes):.2g}"
    add_note(image, f"{_STRAIGHTENED}: the axes of {path.name} were {why}; the nearest at right angles were taken")
    return image


def _axes_of_sform(image: sitk.Image) -> NDArray[np.float64] | None:
    """Return the directions (3, 3) of the axes by the sform in an image's header, if there is one that is used."""
    keys = ("srow_x", "srow_y", "srow_z")
    if not (image.HasMetaDataKey("sform_code") and int(image.GetMetaData("sform_code"))):
        return None
    if not all(image.HasMetaDataKey(key) for key in keys):
        return None
    return axes_of(np.array([[float(value) for value in image.GetMetaData(key).split()] for key in keys]))


def _read_alone(content: bytes, path: Path) -> sitk.Image:
    """Read an image from a copy of its bytes.

    SimpleITK opens a file three times, goes by the ending, and takes the voxels of ``X.nii.gz`` from an ``X.nii`` that
    lies next to it: the copy is read as what it is, and these very bytes are what is read.
    """
    with _temporary_files(), tempfile.NamedTemporaryFile(suffix=".nii.gz" if is_gzip(content) else ".nii") as copy:
        copy.write(content)
        copy.flush()
        return _read_bounded(Path(copy.name), path)


def _read_bounded(path: Path, named: Path) -> sitk.Image:
    """Read a file whose header does not ask for more memory than an image may have."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    n_values = math.prod(reader.GetSize()) * reader.GetNumberOfComponents()
    if n_values > MAX_UNPACKED_BYTES:  # of a byte each, at least
        msg = f"{named}: its header speaks of {n_values} values; give the image of one brain"
        raise InputError(msg)
    return reader.Execute()
