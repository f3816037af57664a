"""Reading and writing NIfTI images with SimpleITK, and comparing where they lie in space."""

import errno
import gzip
import math
import struct
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from nnunet_resunet_ds.errors import InputError
from nnunet_resunet_ds.files import replacing

GEOMETRY_TOLERANCE = 1e-3
"""Largest difference of spacing and origin in mm, and of direction cosines, that counts as the same geometry."""
_GZIP_MAGIC = b"\x1f\x8b"
_NIFTI1_HEADER_BYTES = 348
_FLOAT_DATATYPES = {16: "f4", 64: "f8"}
"""NIfTI-1's codes of the types that can hold NaN."""


def read_image(path: Path) -> sitk.Image:
    """Read a NIfTI file whole, gzipped or not, whatever its ending says.

    SimpleITK fills what a truncated file lacks with zeros, and turns NaN into 0, without a word: so the bytes are
    checked first.

    Raises:
        InputError: the file is missing, truncated, not an image, holds NaN, or has several values a voxel.
    """
    _check_bytes(path)
    try:
        image = _read_alone(path)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].partition(" for ")[0]  # the rest may name a link of ours
        msg = f"{path}: not a readable NIfTI image ({reason}); get the file again"
        raise InputError(msg) from error
    if image.GetNumberOfComponentsPerPixel() != 1:
        msg = f"{path}: has {image.GetNumberOfComponentsPerPixel()} values a voxel; give one file a modality"
        raise InputError(msg)
    if "complex" in image.GetPixelIDTypeAsString():
        msg = f"{path}: its voxels are complex numbers; give magnitude images"
        raise InputError(msg)
    return image


def read_labels(path: Path) -> tuple[sitk.Image, NDArray[np.integer]]:
    """Read a label map and its values (Z, Y, X) as whole numbers.

    Raises:
        InputError: the file cannot be read, is not 3-D, or a value is not a whole number.
    """
    image = read_image(path)
    if image.GetDimension() != 3:
        msg = f"{path}: has {image.GetDimension()} dimensions; a label map has 3"
        raise InputError(msg)
    values = sitk.GetArrayFromImage(image)
    if not np.issubdtype(values.dtype, np.integer):
        rounded = np.rint(values)
        if not np.array_equal(rounded, values):
            msg = f"{path}: label values are not whole numbers; is this an image instead of a label map?"
            raise InputError(msg)
        values = rounded.astype(np.int64)
    return image, values


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
        try:
            sitk.WriteImage(image, str(temporary))
            if not _is_whole(temporary):
                raise _not_written(path)
        except RuntimeError as error:
            raise _not_written(path) from error


def _not_written(path: Path) -> OSError:
    return OSError(errno.EIO, "could not be written whole; is the disk full or the folder read-only?", str(path))


def _is_whole(path: Path) -> bool:
    """Tell whether a gzipped NIfTI-1 file reaches its end: gzip's last four bytes are the unpacked size (RFC 1952)."""
    try:
        with gzip.open(path) as stream:
            header = stream.read(_NIFTI1_HEADER_BYTES)
        (unpacked,) = struct.unpack("<I", path.read_bytes()[-4:])
        return bool(unpacked == _nifti1_layout(header, "<").end % 2**32)
    except (OSError, EOFError, zlib.error, struct.error):
        return False


class _Layout(NamedTuple):
    """Where the voxels of a NIfTI-1 file are."""

    datatype: int
    n_voxels: int
    offset: float
    bits_per_voxel: int

    @property
    def end(self) -> int:
        """Bytes of the whole file."""
        return int(self.offset) + self.n_voxels * self.bits_per_voxel // 8


def _nifti1_layout(header: bytes, order: str) -> _Layout:
    """Read it from the header, in byte order ``<`` or ``>``."""
    n_axes, *axes = struct.unpack_from(f"{order}8h", header, 40)
    datatype, bits_per_voxel = struct.unpack_from(f"{order}2h", header, 70)
    (offset,) = struct.unpack_from(f"{order}f", header, 108)
    return _Layout(datatype, int(math.prod(axes[:n_axes])), offset, bits_per_voxel)


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
        if not np.allclose(a, b, rtol=0, atol=GEOMETRY_TOLERANCE):
            return f"{name.lower()} {shortened(a)} instead of {shortened(b)}"
    return None


def shortened(values: tuple[float, ...]) -> str:
    """Return numbers as a person writes them."""
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"


def is_gzip(path: Path) -> bool:
    """Tell by the first two bytes."""
    with path.open("rb") as stream:
        return stream.read(2) == _GZIP_MAGIC


def _read_alone(path: Path) -> sitk.Image:
    """Read a file by what it is.

    SimpleITK goes by the ending, and takes the voxels of ``X.nii.gz`` from an ``X.nii`` that lies beside it: out of the
    ordinary case, the file is therefore read through a link of the right name in a folder of its own.
    """
    ending = ".nii.gz" if is_gzip(path) else ".nii"
    if path.name.endswith(ending) and not path.with_suffix("").exists():
        return sitk.ReadImage(str(path))
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"image{ending}"
        link.symlink_to(path.resolve())
        return sitk.ReadImage(str(link))


def _check_bytes(path: Path) -> None:
    """Refuse a file whose name SimpleITK cannot take, that is damaged or cut short, or that holds NaN or infinity."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        msg = f"{path!r}: the name is not UTF-8; rename it"
        raise InputError(msg) from error
    if path.exists() and not path.is_file():
        msg = f"{path}: is not a file; remove it, or give another folder"
        raise InputError(msg)
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == _GZIP_MAGIC else content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        msg = f"{path}: damaged ({error}); get the file again"
        raise InputError(msg) from error
    except OSError as error:
        raise unreadable(path, error) from error
    problem = _nifti1_problem(content) if content else "is empty"
    if problem:
        msg = f"{path}: {problem}; get the file again"
        raise InputError(msg)


def unreadable(path: Path, error: OSError) -> InputError:
    """Return what to raise where the system does not let a file be read."""
    return InputError(
        f"{path}: cannot be read ({error.strerror}); look at the file, what it links to, and its permissions"
    )


def _nifti1_problem(content: bytes) -> str | None:
    """Say what is wrong with the bytes of a NIfTI-1 file; None for any other kind, which is SimpleITK's to judge."""
    orders = [order for order in "<>" if content[:4] == struct.pack(f"{order}i", _NIFTI1_HEADER_BYTES)]
    if not orders or len(content) < _NIFTI1_HEADER_BYTES:
        return None
    layout = _nifti1_layout(content, orders[0])
    kind = _FLOAT_DATATYPES.get(layout.datatype)
    dtype = np.dtype(f"{orders[0]}{kind}") if kind else None
    if not math.isfinite(layout.offset) or (dtype and layout.bits_per_voxel != 8 * dtype.itemsize):
        return "its header is damaged"
    if len(content) < layout.end:
        return f"{len(content)} of {layout.end} bytes are there"
    if dtype:
        voxels = np.frombuffer(content, dtype, layout.n_voxels, int(layout.offset))
        if not np.isfinite(voxels).all():
            return "it holds NaN or infinite values"
    return None
