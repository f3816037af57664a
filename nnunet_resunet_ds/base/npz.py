"""Read arrays from ``.npz`` files that may be damaged or harmful."""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.errors import first_line

MAX_UNPACKED_BYTES = 2**32
"""Of an array: thirty times the probabilities of a BraTS case. A file of a few MB can unpack to far more."""


_ONE_HEADER_AT_A_TIME = Lock()
"""NumPy parses headers with ``ast``, which fails now and then in two threads at once (Python before 3.11.9 and 3.12.3):
"AST constructor recursion depth mismatch"."""


class DamagedError(ValueError):
    """The file cannot be read as it should: the message says why."""


def read_arrays(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """Read arrays of numbers by name; nothing is unpickled, and nothing unpacked beyond the bound.

    Raises:
        KeyError: there is no array of a name.
        DamagedError: the file is no such archive, is damaged, holds objects, or is too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [_read(archive, name) for name in names]
    except (KeyError, DamagedError):
        raise
    except Exception as error:  # damaged bytes make zipfile, zlib and numpy raise anything
        raise DamagedError(first_line(error)) from error


def _read(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    entry = archive.getinfo(f"{name}.npy")
    if entry.file_size > MAX_UNPACKED_BYTES:
        msg = f"it is of {entry.file_size / 2**30:.1f} GiB when unpacked"
        raise DamagedError(msg)
    with archive.open(entry) as stream:
        with _ONE_HEADER_AT_A_TIME:
            shape, in_fortran_order, dtype = _read_header(stream)
        if dtype.hasobject:
            msg = "it holds objects"
            raise DamagedError(msg)
        array: NDArray[Any] = np.frombuffer(stream.read(), dtype, math.prod(shape))
    return array.reshape(shape, order="F" if in_fortran_order else "C")


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, order and dtype of an array; NumPy writes versions after the second for names of fields alone."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    header: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(stream)
    return header
