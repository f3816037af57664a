"""The steps that can follow the thresholds: opening, closing, component filter and total rule (D10, D11).

The paper's rules on enhancing tumour are two of them: components of ET that are small and uncertain become necrosis
(NCR), then all ET does, if it is little and uncertain. Uncertain means a low mean probability.

To add a step, write its class here and list it in `USUAL_STEPS`. This gives it its entry in ``postprocessing.json``,
its flags, its numbers for tuning and its rows in the table of changes.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, ClassVar

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.regions import ET, TC, WT, Region, Tissue
from nnunet_resunet_ds.base.setting_checks import check_choice, check_entries, check_number, check_whole_number

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Probabilities = NDArray[np.floating]

MAX_RADIUS = 20
"""Of opening and closing, in voxels."""
STEP = "step"
"""Entry of a step in JSON that says which step it is."""
_FACES = ndimage.generate_binary_structure(3, 1)


@dataclass(frozen=True)
class Nesting:
    """A region, and the tissue that a voxel becomes when it enters or leaves the region."""

    region: Region
    channel: int
    """Of the probabilities."""
    entered: Tissue
    left: Tissue
    """The tissue around the region: only its voxels can enter."""


NESTINGS = {
    WT.name: Nesting(WT, 0, entered=Tissue.ED, left=Tissue.BACKGROUND),
    TC.name: Nesting(TC, 1, entered=Tissue.NCR, left=Tissue.ED),
    ET.name: Nesting(ET, 2, entered=Tissue.ET, left=Tissue.NCR),
}


@dataclass(frozen=True)
class Number:
    """A number that a file and a flag can set and tuning can search: what it does and which values it can have.

    Args:
        help: text for its flag; ``{region}`` stands for WT, TC or ET.
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

    A voxel that leaves WT becomes background, one that leaves TC becomes ED, one that leaves ET becomes NCR.

    Raises:
        InputError: the region is unknown, or a number is of the wrong type or out of range.
    """

    kind: ClassVar[str]
    """Name of the class in JSON; after the region, it is the name of the step in flags and tables."""
    numbers: ClassVar[Mapping[str, Number]]
    """Fields that have a flag each. The step is off where the first of them is 0."""

    region: str
    """WT, TC or ET."""

    def __post_init__(self) -> None:
        check_choice(f"region of a step {self.kind}", self.region, tuple(NESTINGS))
        for field, number in self.numbers.items():
            number.check(self.setting(field), getattr(self, field))

    @property
    def name(self) -> str:
        """What tables and ``--steps`` call it, such as ``et_components``."""
        return f"{self.region.lower()}_{self.kind}"

    def setting(self, field: str) -> str:
        """Return the name of the setting of a field, such as ``et_component_voxels``."""
        return f"{self.region.lower()}_{self.numbers[field].name}"

    @classmethod
    def switch(cls) -> str:
        """Return the field that is 0 where the step is off."""
        return next(iter(cls.numbers))

    @property
    def is_on(self) -> bool:
        """Whether it can change anything."""
        return bool(getattr(self, self.switch()))

    def off(self) -> "Step":
        """Return this step switched off."""
        return self.with_value(self.switch(), 0)

    def with_value(self, field: str, value: float) -> "Step":
        """Return this step with another number.

        Raises:
            InputError: it is of the wrong type or out of range.
        """
        values: dict[str, Any] = {field: value}
        return replace(self, **values)

    @abstractmethod
    def apply(self, labels: Labels, probabilities: Probabilities, connectivity: int) -> Labels:
        """Return labels after this step; those given stay as they are, and so does the background outside the tumour.

        Args:
            labels: (Z, Y, X) in nnU-Net's values, cropped to what is not background.
            probabilities: (R, Z, Y, X).
            connectivity: of components: 6, 18 or 26.
        """

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {STEP: self.kind, **asdict(self)}


@dataclass(frozen=True)
class Opening(Step):
    """Takes out of a region what is too thin for a ball of the radius."""

    kind = "opening"
    numbers: ClassVar = {"radius": Number("radius of the opening of {region}, in voxels", int, MAX_RADIUS, "opening")}

    radius: int
    """In voxels, counted along faces."""

    def apply(self, labels: Labels, probabilities: Probabilities, connectivity: int) -> Labels:
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

    radius: int
    """In voxels, counted along faces."""

    def apply(self, labels: Labels, probabilities: Probabilities, connectivity: int) -> Labels:
        """Return labels after this step; see `Step.apply`."""
        nesting = NESTINGS[self.region]
        mask = np.pad(nesting.region.mask(labels), self.radius)
        closed = _without_margin(ndimage.binary_closing(mask, _FACES, iterations=self.radius), self.radius)
        return np.where(closed & (labels == nesting.left), np.uint8(nesting.entered), labels)


def _without_margin(mask: Mask, margin: int) -> Mask:
    inner = slice(margin, -margin or None)
    return mask[inner, inner, inner]


_MEAN = "… if its mean probability is lower than this; 1: whatever it is"


@dataclass(frozen=True)
class ComponentFilter(Step):
    """Takes out of a region the connected components that are small and have a low mean probability."""

    kind = "components"
    numbers: ClassVar = {
        "voxels": Number("remove a component of {region} with fewer voxels …", int, name="component_voxels"),
        "probability": Number(_MEAN, float, 1, "component_probability"),
    }

    voxels: int
    probability: float = 1.0

    def apply(self, labels: Labels, probabilities: Probabilities, connectivity: int) -> Labels:
        """Return labels after this step; see `Step.apply`."""
        nesting = NESTINGS[self.region]
        probability = probabilities[nesting.channel]
        components = cc3d.connected_components(nesting.region.mask(labels), connectivity=connectivity)
        sizes = np.bincount(components.ravel())
        sums = np.bincount(components.ravel(), weights=probability.ravel())
        removed = sizes < self.voxels
        removed &= is_below(sums / np.maximum(sizes, 1), self.probability, probability.dtype)
        removed[0] = False  # the background
        return np.where(removed[components], np.uint8(nesting.left), labels)


@dataclass(frozen=True)
class TotalRule(Step):
    """Takes all of a region away where it is small and has a low mean probability."""

    kind = "total"
    numbers: ClassVar = {
        "voxels": Number("remove {region} if all of it has fewer voxels …", int, name="total_voxels"),
        "probability": Number(_MEAN, float, 1, "total_probability"),
    }

    voxels: int
    probability: float = 1.0

    def apply(self, labels: Labels, probabilities: Probabilities, connectivity: int) -> Labels:
        """Return labels after this step; see `Step.apply`."""
        nesting = NESTINGS[self.region]
        mask = nesting.region.mask(labels)
        values = probabilities[nesting.channel][mask]
        if not 0 < values.size < self.voxels:
            return labels
        mean = values.mean(dtype=np.float64, keepdims=True)
        if not is_below(mean, self.probability, values.dtype).item():
            return labels
        return np.where(mask, np.uint8(nesting.left), labels)


def is_below(means: NDArray[np.float64], limit: float, dtype: np.dtype[np.floating]) -> NDArray[np.bool_]:
    """Compare mean probabilities with a limit, both as precise as the probabilities; everything is below 1."""
    below: NDArray[np.bool_] = means.astype(dtype) < dtype.type(limit)  # so that 0.9 in float32 is not below 0.9
    return below | (limit >= 1)


USUAL_STEPS: tuple[Step, ...] = (
    *(Opening(region, 0) for region in NESTINGS),
    *(Closing(region, 0) for region in NESTINGS),
    ComponentFilter(WT.name, 0),
    ComponentFilter(TC.name, 0),
    ComponentFilter(ET.name, 16, 0.9),
    TotalRule(ET.name, 73, 0.9),
)
"""Every step that has flags, in the usual order, with the paper's numbers; most are off there."""
_KINDS = {step.kind: type(step) for step in USUAL_STEPS}


def step_from_mapping(entry: Any) -> Step:  # noqa: ANN401 (JSON may hold anything)
    """Build a step from what JSON holds.

    Raises:
        InputError: the entry is no step, or one of its settings is missing, unknown or out of range.
    """
    if not isinstance(entry, Mapping):
        msg = f"each of steps must be an object like {USUAL_STEPS[-1].to_mapping()}; got {entry!r}"
        raise InputError(msg)
    check_choice('"step" of each of steps', entry.get(STEP), tuple(_KINDS))
    kind = _KINDS[entry[STEP]]
    values = {name: value for name, value in entry.items() if name != STEP}
    check_entries(f"unknown settings of a step {kind.kind}", values, [field.name for field in fields(kind)])
    missing = [field.name for field in fields(kind) if field.default is MISSING and field.name not in values]
    if missing:
        msg = f"a step {kind.kind} needs {', '.join(missing)}; got {dict(entry)}"
        raise InputError(msg)
    return kind(**values)
