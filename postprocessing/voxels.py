"""Voxels as numbers: their places in the flattened image, in ascending order; and boxes around them.

A tumour is a small part of an image. Work on its voxels alone, or in a box around them, takes a small part of the time.
"""

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Voxels = NDArray[np.intp]
"""Places in an image (Z, Y, X) that is flattened in C order, ascending."""
Shape = tuple[int, ...]


def no_voxels() -> Voxels:
    """Return an empty set of voxels."""
    return np.empty(0, np.intp)


def union(first: Voxels, second: Voxels) -> Voxels:
    """Return the voxels of two sets that have none in common."""
    if not len(first) or not len(second):
        return first if len(first) else second
    return np.sort(np.concatenate([first, second]), kind="stable")


@dataclass(frozen=True)
class Box:
    """A box in an image; it may reach out of the image."""

    start: Shape
    """Of its first voxel in the image: z, y, x. Below 0 outside the image."""
    shape: Shape
    image: Shape
    """Shape of the image."""

    @classmethod
    def around(cls, voxels: Voxels, image: Shape, margin: int = 0) -> "Box":
        """Return the smallest box of some voxels, at least one, with a margin on each side."""
        rows = voxels // image[2]
        z = rows[[0, -1]] // image[1]
        y = rows - rows // image[1] * image[1]
        x = voxels - rows * image[2]
        ends = [(int(axis.min()) - margin, int(axis.max()) + margin + 1) for axis in (z, y, x)]
        return cls(tuple(first for first, _ in ends), tuple(last - first for first, last in ends), image)

    @property
    def _first(self) -> int:
        """Place of its first voxel in the image, if the image went on."""
        z, y, x = self.start
        return (z * self.image[1] + y) * self.image[2] + x

    def places(self, voxels: Voxels) -> Voxels:
        """Return the places in the flattened box of voxels of the image; all have to lie in the box."""
        z, y, x = self.start
        first = (z * self.shape[1] + y) * self.shape[2] + x
        return _moved(voxels, self.image, self.shape) - first

    def voxels(self, places: Voxels) -> Voxels:
        """Return the voxels of the image at places in the flattened box; all have to lie in the image."""
        return _moved(places, self.shape, self.image) + self._first

    def mask(self, places: Voxels) -> Mask:
        """Return a mask of the box, true at these places."""
        mask = np.zeros(self.shape, np.bool_)
        mask.reshape(-1)[places] = True
        return mask


def _moved(places: Voxels, before: Shape, after: Shape) -> Voxels:
    """Return where the voxels of one flattened box are in another box with the same first voxel."""
    rows = places // before[2]
    planes = rows // before[1]
    return places + rows * (after[2] - before[2]) + planes * ((after[1] - before[1]) * after[2])


def numbered(voxels: Voxels, image: Shape, connectivity: int) -> tuple[NDArray[np.intp], int]:
    """Return the number of each voxel's connected component, from 0, and how many components there are.

    Args:
        voxels: of the image.
        image: shape of the image.
        connectivity: 6, 18 or 26.
    """
    if not len(voxels):
        return no_voxels(), 0
    # cc3d 4.1 counts too few components of single voxels in a box without a margin (connectivity 26), and raises
    box = Box.around(voxels, image, margin=1)
    places = box.places(voxels)
    parts, count = cc3d.connected_components(box.mask(places), connectivity=connectivity, return_N=True)
    return parts.reshape(-1)[places].astype(np.intp) - 1, int(count)
