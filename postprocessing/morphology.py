"""Steps that change the shape of a region: opening, closing, and filling of holes."""

from dataclasses import dataclass
from typing import ClassVar

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from postprocessing.step import NESTINGS, Labels, Mask, Number, Probabilities, Step

MAX_RADIUS = 20
"""Of opening and closing, in voxels."""
_FACES = ndimage.generate_binary_structure(3, 1)


@dataclass(frozen=True)
class Opening(Step):
    """Takes out of a region what is too thin for a ball of the radius."""

    kind = "opening"
    numbers: ClassVar = {"radius": Number("radius of the opening of {region}, in voxels", int, MAX_RADIUS, "opening")}
    switches = ("radius",)

    radius: int
    """In voxels, counted along faces."""

    def apply(
        self, labels: Labels, probabilities: Probabilities, connectivity: int, voxel_volume: float | None = None
    ) -> Labels:
        """Return labels after this step; see `Step.apply`."""
        nesting = NESTINGS[self.region]
        mask = nesting.region.mask(labels)
        opened = ndimage.binary_opening(np.pad(mask, self.radius), _FACES, iterations=self.radius)
        return np.where(mask & ~_without_margin(opened, self.radius), np.uint8(nesting.left), labels)


@dataclass(frozen=True)
class Closing(Step):
    """Takes into a region the gaps in it that are too thin for a ball of the radius and filled by the tissue around."""

    kind = "closing"
    numbers: ClassVar = {"radius": Number("radius of the closing of {region}, in voxels", int, MAX_RADIUS, "closing")}
    switches = ("radius",)

    radius: int
    """In voxels, counted along faces."""

    def apply(
        self, labels: Labels, probabilities: Probabilities, connectivity: int, voxel_volume: float | None = None
    ) -> Labels:
        """Return labels after this step; see `Step.apply`."""
        nesting = NESTINGS[self.region]
        mask = np.pad(nesting.region.mask(labels), self.radius)
        closed = _without_margin(ndimage.binary_closing(mask, _FACES, iterations=self.radius), self.radius)
        return np.where(closed & (labels == nesting.left), np.uint8(nesting.entered), labels)


@dataclass(frozen=True)
class FillHoles(Step):
    """Takes into a region the holes in it that are small, where the tissue around the region fills them.

    A hole is a component, of voxels that share faces, of what is not the region, and does not touch the image's border.
    """

    kind = "holes"
    numbers: ClassVar = {"voxels": Number("fill holes of {region} of at most so many voxels", int, name="hole_voxels")}
    switches = ("voxels",)

    voxels: int

    def apply(
        self, labels: Labels, probabilities: Probabilities, connectivity: int, voxel_volume: float | None = None
    ) -> Labels:
        """Return labels after this step; see `Step.apply`."""
        nesting = NESTINGS[self.region]
        parts, n_parts = cc3d.connected_components(~nesting.region.mask(labels), connectivity=6, return_N=True)
        is_hole = np.bincount(parts.ravel(), minlength=n_parts + 1) <= self.voxels
        is_hole[0] = False  # the region itself
        is_hole[_on_the_border(parts)] = False  # outside the box it goes on, or the image ends
        return np.where(is_hole[parts] & (labels == nesting.left), np.uint8(nesting.entered), labels)


def _on_the_border(parts: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return the numbers on the six faces of a box."""
    faces = [np.take(parts, end, axis).ravel() for axis in range(parts.ndim) for end in (0, -1)]
    return np.unique(np.concatenate(faces))


def _without_margin(mask: Mask, margin: int) -> Mask:
    inner = slice(margin, -margin or None)
    return mask[inner, inner, inner]
