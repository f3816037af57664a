"""Steps that look at the connected components of a region: their size, and their probabilities.

The paper's rule on components of enhancing tumour (D10) is one of them: those that are small and uncertain, by their
mean probability, become necrosis (NCR).
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from postprocessing.component_table import Components
from postprocessing.step import MEAN, Number, SizedStep, Step, is_below, is_below_or_all
from postprocessing.volume import Moves, Volume
from postprocessing.voxels import Mask, Voxels, union


@dataclass(frozen=True)
class ComponentStep(Step):
    """Takes some of its connected components out of a region."""

    @abstractmethod
    def removed(self, components: Components, voxel_volume: float | None) -> Mask:
        """Tell for each of the components whether it goes."""

    def moves(self, volume: Volume) -> Moves:
        """Return what leaves; see `Step.moves`."""
        components = volume.components(self.region)
        removed = self.removed(components, volume.voxel_volume)
        if not removed.any():
            return Moves(self.region)
        left = components.voxels[removed[components.numbers]]
        after = components.without(removed)
        return Moves(self.region, left, are_whole=True, after=after, n_components=int(removed.sum()))


@dataclass(frozen=True)
class ComponentFilter(SizedStep, ComponentStep):
    """Takes out of a region the components that are small and have a low mean probability."""

    kind = "components"
    numbers: ClassVar = {
        "voxels": Number("remove a component of {region} with fewer voxels …", int, name="component_voxels"),
        "mm3": Number("… or with less volume, in mm³ …", float, name="component_mm3"),
        "probability": Number(MEAN, float, 1, "component_probability"),
    }

    def removed(self, components: Components, voxel_volume: float | None) -> Mask:
        """Tell which go; see `ComponentStep.removed`."""
        is_small = components.sizes < self.least_voxels(voxel_volume)
        return is_small & is_below_or_all(components.means, self.probability, components.dtype)


@dataclass(frozen=True)
class MeanFilter(ComponentStep):
    """Takes out of a region the components of any size that have a low mean probability."""

    kind = "mean"
    numbers: ClassVar = {
        "probability": Number("remove a component of {region} with a lower mean probability", float, 1, "mean")
    }
    switches = ("probability",)

    probability: float

    def removed(self, components: Components, voxel_volume: float | None) -> Mask:
        """Tell which go; see `ComponentStep.removed`."""
        return is_below(components.means, self.probability, components.dtype)


@dataclass(frozen=True)
class PeakFilter(ComponentStep):
    """Takes out of a region the components of any size in which no voxel has a high probability."""

    kind = "peak"
    numbers: ClassVar = {
        "probability": Number("remove a component of {region} with a lower highest probability", float, 1, "peak")
    }
    switches = ("probability",)

    probability: float

    def removed(self, components: Components, voxel_volume: float | None) -> Mask:
        """Tell which go; see `ComponentStep.removed`."""
        return is_below(components.peaks, self.probability, components.dtype)


@dataclass(frozen=True)
class LargestComponents(ComponentStep):
    """Takes all components out of a region but the largest ones; those as large as the last of these stay, too."""

    kind = "largest"
    numbers: ClassVar = {"count": Number("keep so many of the largest components of {region}", int, name="largest")}
    switches = ("count",)

    count: int

    def removed(self, components: Components, voxel_volume: float | None) -> Mask:
        """Tell which go; see `ComponentStep.removed`."""
        sizes = components.sizes
        n_more = components.count - self.count
        removed: Mask = sizes < (np.partition(sizes, n_more)[n_more] if n_more > 0 else 0)
        return removed


@dataclass(frozen=True)
class Hysteresis(Step):
    """Makes a region of the components of what reaches a low probability, where some voxel reaches a high one.

    Where the low one is below the region's threshold, the region grows into the tissue around it.
    """

    kind = "hysteresis"
    numbers: ClassVar = {
        "low": Number("{region} becomes the components of what has this probability …", float, 1, "hysteresis_low"),
        "high": Number("… in which some voxel has this one", float, 1, "hysteresis_high"),
    }
    switches = ("high",)

    low: float
    high: float

    def moves(self, volume: Volume) -> Moves:
        """Return what leaves and what enters; see `Step.moves`."""
        found = volume.components_of(self.region, self._candidates(volume))
        goes = is_below(found.peaks, self.high, found.dtype)
        after = found.without(goes)
        was_inside = volume.voxels(self.region)
        is_low = ~(volume.probability(self.region)[was_inside] >= self.low)
        dropped = found.voxels[goes[found.numbers]]
        left = union(was_inside[is_low], dropped[volume.is_inside(self.region, dropped)])
        entered = after.voxels[volume.is_around(self.region, after.voxels)]
        return Moves(self.region, left, entered, after=after)

    def _candidates(self, volume: Volume) -> Voxels:
        """Return the voxels in the region and around it that reach the low probability."""
        probability, outer = volume.probability(self.region), volume.nestings[self.region].within
        if outer is not None:
            voxels = volume.voxels(outer)
            return voxels[probability[voxels] >= self.low]
        voxels = np.flatnonzero(probability >= self.low)
        return voxels[volume.is_inside(self.region, voxels) | volume.is_around(self.region, voxels)]
