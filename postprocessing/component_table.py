"""The connected components of a region, with what steps ask of them: sizes, and probabilities."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from postprocessing.voxels import Mask, Shape, Voxels, numbered

_MEASURES = ("sizes", "means", "peaks")


class Components:
    """The connected components of a region, numbered from 0. A measure is taken when it is asked for, and once."""

    def __init__(
        self, voxels: Voxels, numbers: NDArray[np.intp], count: int, probability: NDArray[np.floating]
    ) -> None:
        """Keep what is known.

        Args:
            voxels: of the region.
            numbers: of each voxel's component.
            count: of components.
            probability: of the region, of the flattened image.
        """
        self.voxels = voxels
        self.numbers = numbers
        self.count = count
        self.dtype = probability.dtype
        self._probability = probability

    @classmethod
    def of(cls, voxels: Voxels, image: Shape, probability: NDArray[np.floating], connectivity: int) -> "Components":
        """Find the components of some voxels of an image; the arguments are those of `numbered` and of the class."""
        return cls(voxels, *numbered(voxels, image, connectivity), probability)

    @cached_property
    def values(self) -> NDArray[np.floating]:
        """Probability of each voxel."""
        return self._probability[self.voxels]

    @cached_property
    def sizes(self) -> NDArray[np.intp]:
        """Voxels of each component."""
        return np.bincount(self.numbers, minlength=self.count)

    @cached_property
    def means(self) -> NDArray[np.float64]:
        """Mean probability of each component."""
        return np.bincount(self.numbers, weights=self.values, minlength=self.count) / self.sizes

    @cached_property
    def peaks(self) -> NDArray[np.floating]:
        """Highest probability of each component."""
        peaks = np.zeros(self.count, self.dtype)
        np.maximum.at(peaks, self.numbers, self.values)
        return peaks

    def without(self, removed: Mask) -> "Components":
        """Return the components that stay, with the measures that were taken; nothing is searched again.

        Args:
            removed: for each component, whether it is gone.
        """
        if not removed.any():
            return self
        stays = ~removed
        is_kept = stays[self.numbers]
        numbers = (np.cumsum(stays) - 1)[self.numbers[is_kept]]
        rest = Components(self.voxels[is_kept], numbers, int(stays.sum()), self._probability)
        known = self.__dict__
        if "values" in known:
            rest.values = self.values[is_kept]
        for measure in _MEASURES:
            if measure in known:
                setattr(rest, measure, known[measure][stays])
        return rest

    def without_voxels(self, gone: Mask) -> "Components":
        """Return the components that stay when whole ones are gone.

        Args:
            gone: for each voxel, whether it is gone; all voxels of a component are, or none.
        """
        removed = np.zeros(self.count, np.bool_)
        removed[self.numbers[gone]] = True
        return self.without(removed)
