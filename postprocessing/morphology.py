"""Steps that change the shape of a region: opening, closing, and filling of holes."""

from dataclasses import dataclass
from typing import ClassVar

import cc3d
import numpy as np

from postprocessing.shifts import dilated, eroded
from postprocessing.step import Number, Step
from postprocessing.volume import Moves, Volume
from postprocessing.voxels import Box, Mask, Voxels

MAX_RADIUS = 20
"""Of opening and closing, in voxels."""


@dataclass(frozen=True)
class Opening(Step):
    """Takes out of a region what is too thin for a ball of the radius."""

    kind = "opening"
    numbers: ClassVar = {"radius": Number("radius of the opening of {region}, in voxels", int, MAX_RADIUS, "opening")}
    switches = ("radius",)

    radius: int
    """In voxels, counted along faces."""

    def moves(self, volume: Volume) -> Moves:
        """Return what leaves; see `Step.moves`."""
        voxels = volume.voxels(self.region)
        if not len(voxels):
            return Moves(self.region)
        box = Box.around(voxels, volume.shape, margin=1)
        places = box.places(voxels)
        opened = dilated(eroded(box.mask(places), self.radius), self.radius)
        return Moves(self.region, left=voxels[~opened.reshape(-1)[places]])


@dataclass(frozen=True)
class Closing(Step):
    """Takes into a region the gaps in it that are too thin for a ball of the radius and filled by the tissue around."""

    kind = "closing"
    numbers: ClassVar = {"radius": Number("radius of the closing of {region}, in voxels", int, MAX_RADIUS, "closing")}
    switches = ("radius",)

    radius: int
    """In voxels, counted along faces."""

    def moves(self, volume: Volume) -> Moves:
        """Return what enters; see `Step.moves`."""
        voxels = volume.voxels(self.region)
        if not len(voxels):
            return Moves(self.region)
        box = Box.around(voxels, volume.shape, margin=self.radius + 1)
        mask = box.mask(box.places(voxels))
        gaps = eroded(dilated(mask, self.radius), self.radius) & ~mask
        return Moves(self.region, entered=_around(volume, self.region, box, np.flatnonzero(gaps)))


@dataclass(frozen=True)
class FillHoles(Step):
    """Takes into a region the holes in it that are small, where the tissue around the region fills them.

    A hole is a component, of voxels that share faces, of what is not the region, and does not touch the image's border.
    """

    kind = "holes"
    numbers: ClassVar = {"voxels": Number("fill holes of {region} of at most so many voxels", int, name="hole_voxels")}
    switches = ("voxels",)

    voxels: int

    def moves(self, volume: Volume) -> Moves:
        """Return what enters; see `Step.moves`."""
        voxels = volume.voxels(self.region)
        if not len(voxels):
            return Moves(self.region)
        box = Box.around(voxels, volume.shape, margin=1)
        holes = _small_holes(box.mask(box.places(voxels)), self.voxels)
        return Moves(self.region, entered=_around(volume, self.region, box, holes))


def _small_holes(mask: Mask, at_most: int) -> Voxels:
    """Return the places of the holes of a mask that have at most so many voxels.

    Args:
        mask: (Z, Y, X), false in the outermost voxels of each side, so that all that is not a hole is one component.
        at_most: voxels.
    """
    parts = cc3d.connected_components(~mask, connectivity=6).reshape(-1)
    places = np.flatnonzero((parts != 0) & (parts != parts[0]))
    numbers = parts[places].astype(np.intp)
    small: Voxels = places[(np.bincount(numbers) <= at_most)[numbers]]
    return small


def _around(volume: Volume, region: str, box: Box, places: Voxels) -> Voxels:
    """Return the voxels at these places of a box that are of the tissue around a region."""
    voxels = box.voxels(places)
    return voxels[volume.is_around(region, voxels)]
