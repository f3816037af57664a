"""Convert images between the axes of their file and those of nnU-Net's readers, some of which reorient to RAS."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import SimpleITK as sitk
from nibabel.orientations import axcodes2ornt, io_orientation
from numpy.typing import NDArray

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.images import GEOMETRY_TOLERANCE, geometry_difference

Scalar = TypeVar("Scalar", bound=np.generic)
SIMPLE_ITK, NIBABEL = "SimpleITKIO", "NibabelIO"
"""nnU-Net's readers that see the axes of an image as they are stored."""
SIMPLE_ITK_TURNED, NIBABEL_TURNED = TURNING_READERS = ("SimpleITKIOWithReorient", "NibabelIOWithReorient")
"""Those that turn them to `TURNED_TO`."""
READERS = (SIMPLE_ITK, NIBABEL, *TURNING_READERS)
"""All that read NIfTI."""
TURNED_TO = "RAS"
_TO_RAS = np.diag([-1.0, -1.0, 1.0])
"""From ITK's world, LPS, to NIfTI's."""


def turned_onto(image: sitk.Image, reference: sitk.Image) -> sitk.Image | None:
    """Permute and flip the axes of an image so that it lies on the voxel grid of another; nothing is interpolated.

    Args:
        image: 3-D.
        reference: 3-D, of the grid that is wanted.

    Returns:
        The image on that grid, within `GEOMETRY_TOLERANCE`; None where turning axes does not lead there.
    """
    axes, of_reference = (np.reshape(each.GetDirection(), (3, 3)) for each in (image, reference))
    cosines = axes.T @ of_reference  # of each axis of the image with each one of the reference
    order = np.abs(cosines).argmax(axis=0)
    signs = cosines[order, range(3)]
    if len(set(order.tolist())) < 3 or not np.allclose(np.abs(signs), 1, rtol=0, atol=GEOMETRY_TOLERANCE):
        return None  # oblique to each other
    turned = sitk.Flip(sitk.PermuteAxes(image, order.tolist()), (signs < 0).tolist(), False)
    return None if geometry_difference(turned, reference) else turned


def orientation(image: sitk.Image) -> str:
    """Return where the axes of a 3-D image point, such as LPS: to the left, to the back, up."""
    name: str = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())
    return name


class Turn(NamedTuple):
    """How the axes of an array lie to those of its file."""

    axes: tuple[int, ...] = (0, 1, 2)
    """For each of (Z, Y, X) of the array, the axis of the file."""
    flipped: tuple[int, ...] = ()
    """Axes of the file that run the other way."""

    def to_reader(self, stored: NDArray[Scalar]) -> NDArray[Scalar]:
        """Turn an array (…, Z, Y, X) with the axes of the file to those that the reader gives."""
        first = stored.ndim - len(self.axes)
        flipped = np.flip(stored, tuple(first + axis for axis in self.flipped))
        turned: NDArray[Scalar] = flipped.transpose([*range(first), *(first + axis for axis in self.axes)])
        return turned

    def to_file(self, turned: NDArray[Scalar]) -> NDArray[Scalar]:
        """Undo `to_reader`."""
        first = turned.ndim - len(self.axes)
        back = turned.transpose([*range(first), *(first + axis for axis in np.argsort(self.axes))])
        stored: NDArray[Scalar] = np.flip(back, tuple(first + axis for axis in self.flipped))
        return stored

    def reordered(self, values: Sequence[float]) -> tuple[float, ...]:
        """Return lengths along (Z, Y, X) of the file, such as a spacing, in the order of the reader's axes."""
        return tuple(values[axis] for axis in self.axes)


def turn_of_reader(reader: str, grid: sitk.Image) -> Turn:
    """Return how a reader of nnU-Net turns an image.

    Args:
        reader: name of its class, as plans have it.
        grid: where the image lies.

    Raises:
        InputError: the reader is none of `READERS`.
    """
    if reader not in READERS:
        msg = f"images were read by {reader}, which does not read NIfTI as it should be; known are {', '.join(READERS)}"
        raise InputError(msg)
    if reader == NIBABEL_TURNED:
        return _turn_to_ras(io_orientation(_affine(grid)))
    return _turn_to_ras(axcodes2ornt(orientation(grid))) if reader == SIMPLE_ITK_TURNED else Turn()


def reader_properties(reader: str, grid: sitk.Image) -> dict[str, Any]:
    """Return what a reader of nnU-Net notes of an image to write label maps on its grid.

    Args:
        reader: one of `READERS`.
        grid: where the image lies.
    """
    if reader == NIBABEL:
        return {"nibabel_stuff": {"original_affine": _affine(grid)}}
    if reader == NIBABEL_TURNED:
        turned = sitk.DICOMOrient(grid, TURNED_TO)
        return {"nibabel_stuff": {"original_affine": _affine(grid), "reoriented_affine": _affine(turned)}}
    original = {"original_orientation": orientation(grid)} if reader == SIMPLE_ITK_TURNED else {}
    seen = sitk.DICOMOrient(grid, TURNED_TO) if original else grid
    geometry = {name: getattr(seen, f"Get{name.capitalize()}")() for name in ("spacing", "origin", "direction")}
    return {"sitk_stuff": {**geometry, **original}}


def turn_of_properties(properties: Mapping[str, Any]) -> Turn | None:
    """Return how the reader had turned an image of which it noted these properties; None where they do not tell."""
    simple_itk, nibabel = properties.get("sitk_stuff"), properties.get("nibabel_stuff")
    if isinstance(simple_itk, Mapping):
        original = simple_itk.get("original_orientation")
        return _turn_to_ras(axcodes2ornt(original)) if original else Turn()
    if isinstance(nibabel, Mapping):
        is_turned = "reoriented_affine" in nibabel
        return _turn_to_ras(io_orientation(np.asarray(nibabel["original_affine"]))) if is_turned else Turn()
    return None


def _turn_to_ras(described: NDArray[np.floating]) -> Turn:
    """Return the turn of nibabel's description: for each of X, Y, Z of the file the axis it becomes, and the sign."""
    becomes, signs = described.T.astype(int)
    axes = tuple(2 - int(np.flatnonzero(becomes == 2 - axis)[0]) for axis in range(3))
    return Turn(axes, tuple(2 - int(axis) for axis in np.flatnonzero(signs < 0)))


def _affine(grid: sitk.Image) -> NDArray[np.float64]:
    """Return nibabel's affine: from voxel (X, Y, Z) to mm to the right, to the front and up."""
    affine = np.eye(4)
    affine[:3, :3] = _TO_RAS @ np.reshape(grid.GetDirection(), (3, 3)) * grid.GetSpacing()
    affine[:3, 3] = _TO_RAS @ grid.GetOrigin()
    return affine
