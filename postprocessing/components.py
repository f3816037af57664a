"""Steps that look at the connected components of a region: their size, and their probabilities.

The paper's rule on components of enhancing tumour (D10) is one of them: those that are small and uncertain, by their
mean probability, become necrosis (NCR).
"""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import cc3d
import numpy as np
from numpy.typing import NDArray

from postprocessing.step import (
    MEAN,
    NESTINGS,
    Labels,
    Mask,
    Number,
    Probabilities,
    SizedStep,
    Step,
    is_below,
    is_below_or_all,
)


class Components:
    """The connected components of a mask, numbered from 1; what is not in the mask has number 0."""

    def __init__(self, mask: Mask, probability: NDArray[np.floating], connectivity: int) -> None:
        """Find them.

        Args:
            mask: (Z, Y, X).
            probability: (Z, Y, X), of the region.
            connectivity: 6, 18 or 26.
        """
        self.numbers = cc3d.connected_components(mask, connectivity=connectivity)
        self.dtype = probability.dtype
        self._inside, self._values = self.numbers[mask], probability[mask]

    @cached_property
    def sizes(self) -> NDArray[np.intp]:
        """Voxels of each number; 0 of number 0."""
        return np.bincount(self._inside, minlength=1)

    @cached_property
    def means(self) -> NDArray[np.float64]:
        """Mean probability of each number."""
        return np.bincount(self._inside, weights=self._values, minlength=1) / np.maximum(self.sizes, 1)

    @cached_property
    def peaks(self) -> NDArray[np.floating]:
        """Highest probability of each number."""
        peaks = np.zeros(len(self.sizes), self.dtype)
        np.maximum.at(peaks, self._inside, self._values)
        return peaks


@dataclass(frozen=True)
class ComponentStep(Step):
    """Takes some of its connected components out of a region."""

    @abstractmethod
    def removed(self, components: Components, voxel_volume: float | None) -> Mask:
        """Tell for each number of components whether it goes; what is said of number 0 does not count."""

    def apply(
        self, labels: Labels, probabilities: Probabilities, connectivity: int, voxel_volume: float | None = None
    ) -> Labels:
        """Return labels after this step; see `Step.apply`."""
        nesting = NESTINGS[self.region]
        components = Components(nesting.region.mask(labels), probabilities[nesting.channel], connectivity)
        removed = self.removed(components, voxel_volume)
        removed[0] = False
        return np.where(removed[components.numbers], np.uint8(nesting.left), labels)


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
        largest_first = np.sort(sizes[1:])[::-1]
        least_kept = largest_first[min(self.count, len(largest_first)) - 1] if len(largest_first) else 0
        removed: Mask = sizes < least_kept
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

    def growth(self, probabilities: Probabilities) -> Mask | None:
        """Return where background may become tumour; see `Step.growth`."""
        nesting = NESTINGS[self.region]
        return None if nesting.left else probabilities[nesting.channel] >= self.low

    def apply(
        self, labels: Labels, probabilities: Probabilities, connectivity: int, voxel_volume: float | None = None
    ) -> Labels:
        """Return labels after this step; see `Step.apply`."""
        nesting = NESTINGS[self.region]
        was_inside, was_around = nesting.region.mask(labels), labels == nesting.left
        probability = probabilities[nesting.channel]
        candidates = (was_inside | was_around) & (probability >= self.low)
        components = Components(candidates, probability, connectivity)
        stays = ~is_below(components.peaks, self.high, components.dtype)
        stays[0] = False
        is_inside = stays[components.numbers]
        without = np.where(was_inside & ~is_inside, np.uint8(nesting.left), labels)
        return np.where(was_around & is_inside, np.uint8(nesting.entered), without)
