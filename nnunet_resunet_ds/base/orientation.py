"""Read the orientation of a NIfTI image, and correct axes that are not at right angles, which ITK refuses."""

import struct
from typing import NamedTuple

import numpy as np
from nibabel import Nifti1Header, Nifti2Header
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
MAX_SHEAR = 1e-3
"""Largest cosine of the angle between two axes that is put right: 0.2 mm at the far end of a brain."""


class _Places(NamedTuple):
    """Number of bytes from the start, and how struct reads what is there."""

    spacing: tuple[int, str]
    sform: tuple[int, str]


_VERSIONS = {
    348: _Places((80, "3f"), (280, "12f")),
    540: _Places((112, "3d"), (400, "12d")),
}
"""NIfTI-1 and NIfTI-2, by the size of their headers, with which they begin."""


class Orientation(NamedTuple):
    """What a header says."""

    spacing: NDArray[np.float64]
    """(3,) in mm."""
    sform: NDArray[np.float64]
    """(3, 4): voxel indices to mm, right, front and up being positive."""


def header_orientation(content: bytes) -> Orientation:
    """Read it from the bytes of a file, which has been found to be NIfTI's."""
    order, places = _version(content)
    spacing, rows = (struct.unpack_from(order + kind, content, place) for place, kind in places)
    return Orientation(np.abs(spacing), np.reshape(rows, (3, 4)).astype(np.float64))


def contradictory_forms(content: bytes) -> tuple[str, str] | None:
    """Return where the axes point by the sform and by the qform, such as LPS, if both count and differ.

    Args:
        content: of a file that has been found to be NIfTI's, unpacked.
    """
    kind = Nifti1Header if _version(content)[1] is _VERSIONS[Nifti1Header.sizeof_hdr] else Nifti2Header
    header = kind(content[: kind.sizeof_hdr], check=False)
    (sform, sform_code), (qform, qform_code) = header.get_sform(coded=True), header.get_qform(coded=True)
    if not (sform_code and qform_code):
        return None
    by_sform, by_qform = ("".join(map(str, aff2axcodes(form))) for form in (sform, qform))
    return None if by_sform == by_qform else (by_sform, by_qform)


def with_sform(content: bytes, sform: NDArray[np.float64]) -> bytes:
    """Return the bytes of a file with another sform (3, 4)."""
    order, places = _version(content)
    place, kind = places.sform
    changed = bytearray(content)
    struct.pack_into(order + kind, changed, place, *sform.ravel().tolist())
    return bytes(changed)


def _version(content: bytes) -> tuple[str, _Places]:
    for order in "<>":
        places = _VERSIONS.get(struct.unpack_from(f"{order}i", content)[0])
        if places:
            return order, places
    msg = "not the bytes of a NIfTI file"
    raise ValueError(msg)


def axes_of(sform: Matrix) -> Matrix | None:
    """Return the directions (3, 3), a column each, of the axes of an sform (3, 4); None where it gives an axis none."""
    lengths = np.linalg.norm(sform[:, :3], axis=0)
    if not np.isfinite(sform).all() or not lengths.all():
        return None
    axes: Matrix = sform[:, :3] / lengths
    return axes


def shear(axes: Matrix) -> float:
    """Return the largest cosine between two of three directions (3, 3), a column each; 0 is all at right angles."""
    return float(np.abs(np.triu(axes.T @ axes, 1)).max())


def nearest_rotation(axes: Matrix) -> Matrix:
    """Return the orthonormal directions that are nearest to three others (3, 3), mirrored where these are."""
    left, _, right = np.linalg.svd(axes)
    nearest: Matrix = left @ right
    return nearest


def straightened(sform: Matrix, spacing: NDArray[np.floating]) -> Matrix:
    """Return an sform (3, 4) in mm with the nearest axes that are at right angles, and the same first voxel.

    Args:
        sform: whose axes have a direction each.
        spacing: (3,) in mm.
    """
    rotation = nearest_rotation(sform[:, :3] / np.linalg.norm(sform[:, :3], axis=0))
    return np.column_stack([rotation * spacing, sform[:, 3]])
