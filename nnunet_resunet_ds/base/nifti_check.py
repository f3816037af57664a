"""Check the bytes of a NIfTI file against its header, before SimpleITK reads it.

SimpleITK gives no error for a damaged file: it fills what a truncated file lacks with zeros, turns NaN into 0, and
takes as much memory as the header asks for.
"""

import gzip
import io
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.file_formats import format_of_bytes
from nnunet_resunet_ds.base.files import identity_of_content

MAX_UNPACKED_BYTES = 2**31
"""Of an image: fifteen times a BraTS case of four modalities in fp32. A file of a few MB can unpack to far more."""
AGAIN = "copy or download it again"
"""What helps where a file has lost something on its way."""
_FINITE = "set these voxels to 0, or repeat the step that made the image"
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP = 31
"""zlib's number for gzip with its header and checksum."""
_FLOAT_DATATYPES = {16: "f4", 64: "f8"}
"""NIfTI's codes of the types that can hold NaN."""


class _Version(NamedTuple):
    """Where a header says what: number of bytes from its start, and how struct reads them."""

    axes: tuple[int, str]
    """Their number, then the size of each of seven."""
    datatype_and_bits: tuple[int, str]
    offset: tuple[int, str]
    """Of the first voxel."""


_VERSIONS = {
    348: _Version((40, "8h"), (70, "2h"), (108, "f")),
    540: _Version((16, "8q"), (12, "2h"), (168, "q")),
}
"""NIfTI-1 and NIfTI-2, by the size of their headers, with which they begin."""


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file as they are.

    Raises:
        InputError: SimpleITK could not take its name, it is not a file, or it cannot be read.
    """
    return _read(path)[0]


def read_with_identity(path: Path) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes of a file, and what `identity_of` returns of it; the file is opened once.

    Raises:
        InputError: as `read_bytes` does.
    """
    content, stat = _read(path)
    return content, identity_of_content(content, stat)


def _read(path: Path) -> tuple[bytes, os.stat_result]:
    _check_is_file(path)
    try:
        stat = path.stat()  # before the bytes, so that a later change is noticed
        return path.read_bytes(), stat
    except OSError as error:
        raise unreadable(path, error) from error


def _check_is_file(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        msg = f"{path!r}: the name is not UTF-8; rename it"
        raise InputError(msg) from error
    if path.exists() and not path.is_file():
        msg = f"{path}: is not a file; move it out of the inputs"
        raise InputError(msg)


def check_bytes(content: bytes, path: Path) -> None:
    """Refuse the bytes of a file that is damaged or cut short, or that holds NaN or infinity.

    Args:
        content: the bytes of the file, gzipped or not.
        path: of the file, for the message.

    Raises:
        InputError: with the file, what is wrong, and what to do.
    """
    try:
        problem = _problem(unpacked(content))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        msg = f"{path}: damaged ({error}); {AGAIN}"
        raise InputError(msg) from error
    if problem:
        msg = f"{path}: {problem}"
        raise InputError(msg)


def unreadable(path: Path, error: OSError) -> InputError:
    """Return what to raise where the system does not let a file be read."""
    return InputError(
        f"{path}: cannot be read ({error.strerror}); look at the file, what it links to, and its permissions"
    )


class Seal(NamedTuple):
    """What a gzip file says of the bytes in it: with it, a reader's voxels prove that the file is whole."""

    start: bytes
    """The bytes before the first voxel, unpacked."""
    checksum: int
    """CRC-32 of all bytes, as it stands at the end of the file."""

    def fits(self, voxels: NDArray[Any]) -> bool:
        """Tell whether these are the voxels of the file, bit for bit, and none is NaN or infinite."""
        if zlib.crc32(np.ascontiguousarray(voxels).data, zlib.crc32(self.start)) != self.checksum:
            return False
        return not np.issubdtype(voxels.dtype, np.floating) or bool(np.isfinite(voxels).all())


def seal_of(content: bytes) -> Seal | None:
    """Return the seal of a gzip file of the size that its header gives; None where `check_bytes` must look at it all.

    SimpleITK unpacks in half the time of Python's zlib, and the checksum of its voxels tells whether the file is whole.
    """
    if not is_gzip(content):
        return None
    try:
        layout = _layout(zlib.decompressobj(_GZIP).decompress(content, max(_VERSIONS)))
        checksum, n_bytes = struct.unpack("<2I", content[-8:])
        if layout is None or not layout.is_possible or layout.end != n_bytes or n_bytes > MAX_UNPACKED_BYTES:
            return None
        n_before = int(layout.offset)
        return Seal(zlib.decompressobj(_GZIP).decompress(content, n_before) if n_before else b"", checksum)
    except (zlib.error, struct.error):
        return None


def unpacked(content: bytes) -> bytes:
    """Return bytes unpacked if they are gzipped: up to `MAX_UNPACKED_BYTES`, and one more where they go on.

    Raises:
        EOFError, zlib.error, gzip.BadGzipFile: they are cut short, or damaged.
    """
    return _unpacked(content) if is_gzip(content) else content


def is_gzip(content: bytes) -> bool:
    """Tell by the first two bytes."""
    return content[: len(_GZIP_MAGIC)] == _GZIP_MAGIC


def is_gzip_file(path: Path) -> bool:
    """Tell by the first two bytes of a file."""
    with path.open("rb") as stream:
        return is_gzip(stream.read(len(_GZIP_MAGIC)))


def holds_unpacked(packed: Path, plain: Path) -> bool:
    """Tell whether a gzip file holds the bytes of another, by the checksum and size at its end where these fit."""
    content, trailer = plain.read_bytes(), packed.read_bytes()[-8:]
    if trailer == struct.pack("<2I", zlib.crc32(content), len(content) % 2**32):
        return True
    try:
        return _unpacked(packed.read_bytes()) == content  # of several members, each with a checksum of its own
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return False


def is_whole(path: Path) -> bool:
    """Tell whether a NIfTI file reaches its end: gzip's last four bytes are the unpacked size (RFC 1952)."""
    try:
        packed = is_gzip_file(path)
        with gzip.open(path) if packed else path.open("rb") as stream:
            layout = _layout(stream.read(max(_VERSIONS)))
        n_bytes = struct.unpack("<I", path.read_bytes()[-4:])[0] if packed else path.stat().st_size
        return layout is not None and bool(n_bytes == layout.end % 2**32)
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
    """Say what is wrong with unpacked bytes, and what to do."""
    if not content:
        return f"is empty; {AGAIN}"
    if len(content) > MAX_UNPACKED_BYTES:
        return f"is of more than {MAX_UNPACKED_BYTES >> 30} GiB when unpacked; give the image of one brain"
    layout = _layout(content)
    if layout is None:
        other = format_of_bytes(content)
        return f"is {other.name}, not a NIfTI image; {other.advice}" if other else f"is not a NIfTI image; {AGAIN}"
    if not layout.is_possible:
        return f"its header is damaged; {AGAIN}"
    if len(content) < layout.end:
        return f"{len(content)} of {layout.end} bytes are there; {AGAIN}"
    return None if layout.is_finite(content) else f"it holds NaN or infinite values; {_FINITE}"


class _Layout(NamedTuple):
    """Where the voxels of a NIfTI file are."""

    order: str
    """Of bytes, ``<`` or ``>``."""
    axes: tuple[int, ...]
    datatype: int
    bits_per_voxel: int
    offset: float

    @property
    def dtype(self) -> np.dtype[np.floating] | None:
        """Of the voxels, where they can hold NaN."""
        kind = _FLOAT_DATATYPES.get(self.datatype)
        return np.dtype(f"{self.order}{kind}") if kind else None

    @property
    def is_possible(self) -> bool:
        """Whether a file could be like this."""
        is_place = math.isfinite(self.offset) and self.offset >= 0
        is_shape = bool(self.axes) and min(self.axes) >= 1
        is_size = self.bits_per_voxel >= 1 and (self.dtype is None or self.bits_per_voxel == 8 * self.dtype.itemsize)
        return is_place and is_shape and is_size

    @property
    def n_voxels(self) -> int:
        """Of all axes."""
        return math.prod(self.axes)

    @property
    def end(self) -> int:
        """Bytes of the whole file."""
        return int(self.offset) + self.n_voxels * self.bits_per_voxel // 8

    def is_finite(self, content: bytes) -> bool:
        """Tell whether no voxel is NaN or infinite."""
        if self.dtype is None:
            return True
        return bool(np.isfinite(np.frombuffer(content, self.dtype, self.n_voxels, int(self.offset))).all())


def _layout(content: bytes) -> _Layout | None:
    """Read it from the header; None where that is not NIfTI's."""
    for order in "<>":
        version = _VERSIONS.get(struct.unpack_from(f"{order}i", content)[0]) if len(content) >= min(_VERSIONS) else None
        if version and len(content) >= max(place for place, _ in version):
            (n_axes, *axes), (datatype, bits), (offset,) = (
                struct.unpack_from(f"{order}{kind}", content, place) for place, kind in version
            )
            return _Layout(order, tuple(axes[: max(0, n_axes)]), datatype, bits, offset)
    return None
