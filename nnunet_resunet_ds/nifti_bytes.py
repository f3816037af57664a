"""The bytes of a NIfTI file: unpacked within bounds, and whether they are what the header promises.

SimpleITK fills what a truncated file lacks with zeros, turns NaN into 0, and takes as much memory as a header asks for,
without a word: so the bytes are looked at first.
"""

import gzip
import io
import math
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nnunet_resunet_ds.errors import InputError

MAX_UNPACKED_BYTES = 2**31
"""Of an image: fifteen times a BraTS case of four modalities in fp32. A file of a few MB can unpack to far more."""
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP = 31
"""zlib's number for gzip with its header and checksum."""
_HEADER_BYTES = 348
_FLOAT_DATATYPES = {16: "f4", 64: "f8"}
"""NIfTI-1's codes of the types that can hold NaN."""


def check_bytes(path: Path) -> None:
    """Refuse a file whose name SimpleITK cannot take, that is damaged or cut short, or that holds NaN or infinity.

    Raises:
        InputError: with the file, what is wrong, and what to do.
    """
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
        problem = _problem(_unpacked(content) if content[:2] == _GZIP_MAGIC else content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        msg = f"{path}: damaged ({error}); get the file again"
        raise InputError(msg) from error
    except OSError as error:
        raise unreadable(path, error) from error
    if problem:
        msg = f"{path}: {problem}; get the file again"
        raise InputError(msg)


def unreadable(path: Path, error: OSError) -> InputError:
    """Return what to raise where the system does not let a file be read."""
    return InputError(
        f"{path}: cannot be read ({error.strerror}); look at the file, what it links to, and its permissions"
    )


def is_gzip(path: Path) -> bool:
    """Tell by the first two bytes."""
    with path.open("rb") as stream:
        return stream.read(2) == _GZIP_MAGIC


def is_whole(path: Path) -> bool:
    """Tell whether a gzipped NIfTI-1 file reaches its end: gzip's last four bytes are the unpacked size (RFC 1952)."""
    try:
        with gzip.open(path) as stream:
            header = stream.read(_HEADER_BYTES)
        (unpacked,) = struct.unpack("<I", path.read_bytes()[-4:])
        return bool(unpacked == _layout(header, "<").end % 2**32)
    except (OSError, EOFError, zlib.error, struct.error):
        return False


def _unpacked(content: bytes) -> bytes:
    """Unpack a gzip file up to the bound, and one byte more where it goes on.

    Raises:
        EOFError, zlib.error, gzip.BadGzipFile: it is cut short, or damaged.
    """
    unpacking = zlib.decompressobj(_GZIP)
    unpacked = unpacking.decompress(content, MAX_UNPACKED_BYTES + 1)
    if len(unpacked) > MAX_UNPACKED_BYTES:
        return unpacked
    if not unpacking.eof:
        msg = "it ends in the middle"
        raise EOFError(msg)
    if not unpacking.unused_data.strip(b"\0"):
        return unpacked
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:  # of several members, as bgzip writes them
        return stream.read(MAX_UNPACKED_BYTES + 1)


def _problem(content: bytes) -> str | None:
    """Say what is wrong with unpacked bytes; NIfTI-1 alone is known here, any other kind is SimpleITK's to judge."""
    if not content:
        return "is empty"
    if len(content) > MAX_UNPACKED_BYTES:
        return f"is of more than {MAX_UNPACKED_BYTES >> 30} GiB when unpacked, and no image of a brain"
    orders = [order for order in "<>" if content[:4] == struct.pack(f"{order}i", _HEADER_BYTES)]
    if not orders or len(content) < _HEADER_BYTES:
        return None
    return _problem_of_nifti1(content, orders[0])


def _problem_of_nifti1(content: bytes, order: str) -> str | None:
    layout = _layout(content, order)
    kind = _FLOAT_DATATYPES.get(layout.datatype)
    dtype = np.dtype(f"{order}{kind}") if kind else None
    if not layout.is_possible or (dtype and layout.bits_per_voxel != 8 * dtype.itemsize):
        return "its header is damaged"
    if len(content) < layout.end:
        return f"{len(content)} of {layout.end} bytes are there"
    if dtype and not np.isfinite(np.frombuffer(content, dtype, layout.n_voxels, int(layout.offset))).all():
        return "it holds NaN or infinite values"
    return None


class _Layout(NamedTuple):
    """Where the voxels of a NIfTI-1 file are."""

    datatype: int
    axes: tuple[int, ...]
    offset: float
    bits_per_voxel: int

    @property
    def is_possible(self) -> bool:
        """Whether a file could be like this."""
        is_place = math.isfinite(self.offset) and self.offset >= 0
        return is_place and bool(self.axes) and min(self.axes) >= 1 and self.bits_per_voxel >= 1

    @property
    def n_voxels(self) -> int:
        """Of all axes."""
        return math.prod(self.axes)

    @property
    def end(self) -> int:
        """Bytes of the whole file."""
        return int(self.offset) + self.n_voxels * self.bits_per_voxel // 8


def _layout(header: bytes, order: str) -> _Layout:
    """Read it from the header, in byte order ``<`` or ``>``."""
    n_axes, *axes = struct.unpack_from(f"{order}8h", header, 40)
    datatype, bits_per_voxel = struct.unpack_from(f"{order}2h", header, 70)
    (offset,) = struct.unpack_from(f"{order}f", header, 108)
    return _Layout(datatype, tuple(axes[: max(0, n_axes)]), offset, bits_per_voxel)
