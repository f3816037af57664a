"""The label map of a case while steps change it, and what is known of its regions until these change."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from postprocessing.component_table import Components
from postprocessing.nesting import NESTINGS, Nesting
from postprocessing.voxels import Mask, Shape, Voxels, no_voxels, union

Labels = NDArray[np.uint8]
Probabilities = NDArray[np.floating]


@dataclass(frozen=True)
class Moves:
    """What a step does to its region. Nothing, where only the region is given."""

    region: str
    left: Voxels = field(default_factory=no_voxels)
    entered: Voxels = field(default_factory=no_voxels)
    are_whole: bool = False
    """Whether what left is whole components of the region, and nothing entered."""
    after: Components | None = None
    """The components of the region afterwards, where they are known."""
    n_components: int | None = None
    """That the voxels which moved form, where it is known."""

    @property
    def voxels(self) -> Voxels:
        """All that moved."""
        return union(self.left, self.entered)


@dataclass(frozen=True)
class _Known:
    """What is known of a region as it is now."""

    voxels: Voxels
    components: Components | None = None


class Volume:
    """A label map that steps change, with the voxels of each region.

    The components of a region are searched when a step asks for them, and kept until the region changes. Where whole
    components go, the others are kept.
    """

    def __init__(
        self,
        labels: Labels,
        probabilities: Probabilities,
        connectivity: int,
        voxel_volume: float | None = None,
        nestings: Mapping[str, Nesting] = NESTINGS,
    ) -> None:
        """Look where each region is.

        Args:
            labels: (Z, Y, X) in nnU-Net's values, contiguous; they are changed in place.
            probabilities: (R, Z, Y, X).
            connectivity: of components: 6, 18 or 26.
            voxel_volume: in mm³; None where no step has a size in mm³.
            nestings: of the regions.
        """
        self.connectivity = connectivity
        self.voxel_volume = voxel_volume
        self.shape: Shape = labels.shape
        self.nestings = nestings
        self._labels = labels.reshape(-1)
        self._probabilities = probabilities
        self._flat: dict[str, NDArray[np.floating]] = {}
        foreground = np.flatnonzero(self._labels != 0)
        found = self._labels[foreground]
        self._known = {name: _Known(foreground[nesting.is_inside[found]]) for name, nesting in nestings.items()}

    @property
    def labels(self) -> Labels:
        """The label map as it is now, (Z, Y, X)."""
        return self._labels.reshape(self.shape)

    def copy(self) -> "Volume":
        """Return a volume that changes on its own; what is known of the regions goes along."""
        other = copy(self)
        other._labels, other._known = self._labels.copy(), dict(self._known)
        return other

    @property
    def regions_there(self) -> frozenset[str]:
        """The regions that have voxels."""
        return frozenset(name for name, known in self._known.items() if len(known.voxels))

    def voxels(self, region: str) -> Voxels:
        """Return the voxels of a region."""
        return self._known[region].voxels

    def probability(self, region: str) -> NDArray[np.floating]:
        """Return the probability of a region, of the flattened image."""
        if region not in self._flat:
            self._flat[region] = self._probabilities[self.nestings[region].channel].reshape(-1)
        return self._flat[region]

    def is_inside(self, region: str, voxels: Voxels) -> Mask:
        """Tell of each of some voxels whether it is of a region."""
        return self.nestings[region].is_inside[self._labels[voxels]]

    def is_around(self, region: str, voxels: Voxels) -> Mask:
        """Tell of each of some voxels whether it is of the tissue around a region: whether it can enter."""
        is_around: Mask = self._labels[voxels] == self.nestings[region].around
        return is_around

    def components(self, region: str) -> Components:
        """Return the components of a region."""
        known = self._known[region]
        if known.components is not None:
            return known.components
        found = self.components_of(region, known.voxels)
        self._known[region] = _Known(known.voxels, found)
        return found

    def components_of(self, region: str, voxels: Voxels) -> Components:
        """Return the components that some voxels form, with the probabilities of a region."""
        return Components.of(voxels, self.shape, self.probability(region), self.connectivity)

    def take(self, moves: Moves) -> None:
        """Change the labels; forget what is known of the regions that change."""
        voxels = np.concatenate([moves.left, moves.entered])
        if len(voxels):
            self._move(voxels, moves)
        if moves.after is not None:
            self._known[moves.region] = _Known(moves.after.voxels, moves.after)

    def _move(self, voxels: Voxels, moves: Moves) -> None:
        """Change the labels of these voxels, and update what is known of the regions that they were in or are in."""
        nesting = self.nestings[moves.region]
        before = self._labels[voxels]
        self._labels[moves.left] = self._below(nesting, moves.left)
        self._labels[moves.entered] = nesting.entered
        after = self._labels[voxels]
        for name, other in self.nestings.items():
            was, now = other.is_inside[before], other.is_inside[after]
            if (was != now).any():
                self._known[name] = self._updated(name, voxels[now & ~was], moves)

    def _below(self, nesting: Nesting, voxels: Voxels) -> Labels | int:
        """Return what voxels become that leave a region."""
        if nesting.below is None:
            return nesting.around
        z, y, x = np.unravel_index(voxels, self.shape)
        return nesting.below(self._probabilities[:, z, y, x])

    def _updated(self, region: str, came: Voxels, moves: Moves) -> _Known:
        """Return what is known of a region that has changed: some voxels came to it, and others may be gone."""
        known = self._known[region]
        gone = ~self.is_inside(region, known.voxels)
        if moves.are_whole and not len(came) and known.components is not None:
            # a component of TC lies in one of WT: it is gone as a whole, too
            components = known.components.without_voxels(gone)
            return _Known(components.voxels, components)
        return _Known(union(known.voxels[~gone], came))
