"""What every step of the post-processing has: a region, numbers with names, and a function from labels to labels."""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.setting_checks import check_number, check_whole_number
from postprocessing.nesting import NESTINGS, Nesting
from postprocessing.volume import Labels, Moves, Probabilities, Volume
from postprocessing.voxels import Mask

STEP = "step"
"""Entry of a step in JSON that says which step it is."""
MEAN = "… if its mean probability is lower than this; 1: whatever it is"
"""Help of the number that `is_below_or_all` compares with."""
_ROUNDING = 1e-6
"""Relative, of sizes in mm³."""


@dataclass(frozen=True)
class Number:
    """A number that a file and a flag can set and tuning can search: what it does and which values it can have.

    Args:
        help: text for its flag; ``{region}`` stands for the name of a region.
        type: int or float.
        at_most: the largest value; the smallest is 0.
        name: of a number of a step: its setting is called after the region and this, such as ``wt_opening``.
    """

    help: str
    type: type[int] | type[float]
    at_most: float = math.inf
    name: str = ""

    def check(self, setting: str, value: object) -> None:
        """Refuse a value of the wrong type or out of range.

        Raises:
            InputError: with the name of the setting.
        """
        if self.type is int:
            check_whole_number(setting, value, at_least=0, at_most=self.at_most)
        else:
            check_number(setting, value, at_most=self.at_most)


@dataclass(frozen=True)
class Step(ABC):
    """Changes the labels of one region.

    A voxel that leaves WT becomes background, one that leaves TC becomes ED, one that leaves ET becomes NCR. One that
    leaves a further region becomes what the thresholds paint there without this region; background alone can enter it.

    Raises:
        InputError: a number is of the wrong type or out of range.
    """

    kind: ClassVar[str]
    """Name of the class in JSON; after the region, it is the name of the step in flags and tables."""
    numbers: ClassVar[Mapping[str, Number]]
    """Fields that flags and tuning can set."""
    switches: ClassVar[tuple[str, ...]]
    """Fields that switch the step off where all of them are 0."""

    region: str
    """Its name: WT, TC, ET, or that of a further region."""

    def __post_init__(self) -> None:
        for field, number in self.numbers.items():
            number.check(self.setting(field), getattr(self, field))

    @property
    def name(self) -> str:
        """What tables and ``--steps`` call it, such as ``et_components``."""
        return f"{in_settings(self.region)}_{self.kind}"

    def setting(self, field: str) -> str:
        """Return the name of the setting of a field, such as ``et_component_voxels``."""
        return f"{in_settings(self.region)}_{self.numbers[field].name}"

    @property
    def is_on(self) -> bool:
        """Whether it can change anything."""
        return any(getattr(self, field) for field in self.switches)

    @property
    def needs_voxel_volume(self) -> bool:
        """Whether it has a size in mm³."""
        return False

    def off(self) -> "Step":
        """Return this step switched off."""
        values: dict[str, Any] = dict.fromkeys(self.switches, 0)
        return replace(self, **values)

    def with_value(self, field: str, value: float) -> "Step":
        """Return this step with another number.

        Raises:
            InputError: it is of the wrong type or out of range.
        """
        values: dict[str, Any] = {field: value}
        return replace(self, **values)

    @abstractmethod
    def moves(self, volume: Volume) -> Moves:
        """Return which voxels leave the region and which enter it; the volume stays as it is."""

    def apply(
        self,
        labels: Labels,
        probabilities: Probabilities,
        connectivity: int,
        voxel_volume: float | None = None,
        nestings: Mapping[str, Nesting] = NESTINGS,
    ) -> Labels:
        """Return labels after this step alone; those given stay as they are.

        Args:
            labels: (Z, Y, X) in nnU-Net's values.
            probabilities: (R, Z, Y, X).
            connectivity: of components: 6, 18 or 26.
            voxel_volume: in mm³; a step that `needs_voxel_volume` has to be given it.
            nestings: of the regions; `nestings_of` gives those of a configuration with further regions.
        """
        after = np.array(labels, order="C")
        volume = Volume(after, probabilities, connectivity, voxel_volume, nestings)
        volume.take(self.moves(volume))
        return after

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {STEP: self.kind, **asdict(self)}


def in_settings(region: str) -> str:
    """Return what names of steps and settings call a region: ``et`` for ET, ``gross_tumor`` for "Gross tumor"."""
    return re.sub(r"\W+", "_", region.lower())


def is_below(means: NDArray[np.floating], limit: float, dtype: np.dtype[np.floating]) -> Mask:
    """Compare means of probabilities with a limit, both as precise as the probabilities: 0.9 is not below 0.9."""
    below: Mask = means.astype(dtype) < dtype.type(limit)
    return below


def is_below_or_all(means: NDArray[np.floating], limit: float, dtype: np.dtype[np.floating]) -> Mask:
    """Compare as `is_below` does; everything is below 1, which stands for "whatever it is"."""
    return is_below(means, limit, dtype) | (limit >= 1)


@dataclass(frozen=True)
class SizedStep(Step):
    """Takes away what is small and has a low mean probability.

    Small is what has fewer voxels or less volume than this: the larger of the two limits counts.
    """

    switches = ("voxels", "mm3")

    voxels: int
    probability: float = 1.0
    mm3: float = 0.0

    @property
    def needs_voxel_volume(self) -> bool:
        """Whether it has a size in mm³."""
        return self.mm3 > 0

    def least_voxels(self, voxel_volume: float | None) -> int:
        """Return how many voxels are not small any more.

        Args:
            voxel_volume: in mm³; None where ``mm3`` is 0.
        """
        if not self.mm3 or voxel_volume is None:
            return self.voxels
        # headers hold spacings in fp32: 10 voxels of 0.1 mm³ reach 1 mm³
        return max(self.voxels, math.ceil(self.mm3 / voxel_volume * (1 - _ROUNDING)))
