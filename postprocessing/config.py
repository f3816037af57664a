"""Every setting of the post-processing in one object that goes to and from ``postprocessing.json``."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json, write_json
from nnunet_resunet_ds.base.regions import RC, Tissue
from nnunet_resunet_ds.base.setting_checks import (
    check_choice,
    check_entries,
    check_flag,
    check_number,
    check_whole_number,
)

MAX_LABEL = 255
"""Of a uint8 label map."""
CONNECTIVITIES = (6, 18, 26)
"""Voxels that share a face, also an edge, also a corner."""
MAX_RADIUS = 20
"""Of opening and closing, in voxels."""
OPERATIONS = ("opening", "closing", "components")
STEPS = (*(f"{region}_{operation}" for operation in OPERATIONS for region in ("wt", "tc", "et")), "et_total")
"""What can follow the thresholds, in the order that is usual."""
AVERAGES = ("probabilities", "logits")
"""What flips, tiles and folds were averaged in."""


@dataclass(frozen=True, kw_only=True)
class FurtherRegion:
    """A region beside the tumour with an output of its own, such as the resection cavity of BraTS 2024."""

    name: str
    label: int
    """Painted where the probability reaches the threshold, over what is there."""
    threshold: float = 0.5


RESECTION_CAVITY = FurtherRegion(name=RC.name, label=int(Tissue.FURTHER))


@dataclass(frozen=True, kw_only=True)
class PostprocessingConfig:
    """Thresholds (paper section 5, decision D9), then steps that are each off where their number is 0.

    The defaults are the paper's: of the steps, the enhancing-tumour rules (D10); the others (D11) are there to be
    tuned. Sizes and radii are in voxels. A voxel that leaves WT becomes background, one that leaves TC becomes ED, one
    that leaves ET becomes NCR.

    Raises:
        InputError: a value is of the wrong type or out of range.
    """

    wt: float = 0.45
    """Below this probability of whole tumour a voxel is background."""
    tc: float = 0.40
    """Below this probability of tumour core, the rest of whole tumour is ED."""
    et: float = 0.45
    """Below this probability of enhancing tumour, the rest of tumour core is NCR."""
    nested: bool = True
    """Whether TC counts inside WT only, and ET inside TC only; nnU-Net paints each where it is above its threshold."""
    further: tuple[FurtherRegion, ...] = (RESECTION_CAVITY,)
    """Outputs after WT, TC and ET, in their order; painted in this order, the last one wins."""
    steps: tuple[str, ...] = STEPS
    """What follows the thresholds, in this order."""
    wt_opening: int = 0
    """Radius of the opening of WT: what is thinner goes."""
    tc_opening: int = 0
    et_opening: int = 0
    wt_closing: int = 0
    """Radius of the closing of WT: gaps that are thinner become ED, in TC and ET NCR and ET of the region around."""
    tc_closing: int = 0
    et_closing: int = 0
    wt_component_voxels: int = 0
    """A WT component smaller than this is doubtful."""
    wt_component_probability: float = 1.0
    """A doubtful component with a mean probability of its region below this goes; 1: whatever the probability."""
    tc_component_voxels: int = 0
    tc_component_probability: float = 1.0
    et_component_voxels: int = 16
    et_component_probability: float = 0.9
    et_total_voxels: int = 73
    """If all ET together is smaller than this, all of it is doubtful."""
    et_total_probability: float = 0.9
    """Doubtful total ET with a mean ET probability below this becomes NCR; 1: whatever the probability."""
    connectivity: int = 6
    """Of components."""
    averaging: str | None = None
    """What the probabilities were averaged in that these numbers were tuned on; None where they were not tuned."""

    tuned_on: tuple[tuple[str, str], ...] = ()
    """Fold and identity of each of the weights that these numbers were tuned on."""

    def __post_init__(self) -> None:
        for name in THRESHOLDS + PROBABILITIES:
            check_number(name, getattr(self, name), at_most=1)
        for name in SIZES:
            check_whole_number(name, getattr(self, name), at_least=0)
        for name in RADII:
            check_whole_number(name, getattr(self, name), at_least=0, at_most=MAX_RADIUS)
        check_flag("nested", self.nested)
        self._check_further()
        for step in self.steps:
            check_choice("each of steps", step, STEPS)
        if len(set(self.steps)) < len(self.steps):
            msg = f"each of steps can be there once; got {', '.join(self.steps)}"
            raise InputError(msg)
        if self.connectivity not in CONNECTIVITIES:
            msg = f"connectivity must be one of {CONNECTIVITIES}; got {self.connectivity!r}"
            raise InputError(msg)
        if self.averaging is not None:
            check_choice("averaging", self.averaging, AVERAGES)

    def _check_further(self) -> None:
        labels = [region.label for region in self.further]
        if len(set(labels)) != len(labels):
            msg = f"each of the further regions needs a label of its own; got {labels}"
            raise InputError(msg)
        for region in self.further:
            check_number(f"threshold of {region.name}", region.threshold, at_most=1)
            check_whole_number(f"label of {region.name}", region.label, at_least=int(Tissue.ET) + 1, at_most=MAX_LABEL)

    def is_on(self, step: str) -> bool:
        """Tell whether a step can change anything."""
        name = step.replace("components", "component_voxels").replace("total", "total_voxels")
        return bool(getattr(self, name))

    @classmethod
    def paper(cls) -> "PostprocessingConfig":
        """Return the paper's numbers."""
        return cls()

    @classmethod
    def preset(cls, name: str) -> "PostprocessingConfig":
        """Return the settings of a name.

        Args:
            name: one of `PRESETS`: ``paper``; ``none``, nested thresholds of 0.5 and no step; ``nnunet``, what
                ``nnUNetv2_predict`` does: 0.5, not nested, and no step.

        Raises:
            InputError: no such preset.
        """
        check_choice("the preset", name, tuple(PRESETS))
        return cls(**PRESETS[name])

    @classmethod
    def from_mapping(cls, mapping: Any) -> "PostprocessingConfig":  # noqa: ANN401 (JSON may hold anything)
        """Build from what JSON holds; what is left out has the paper's value.

        Raises:
            InputError: an entry is unknown or out of range.
        """
        if not isinstance(mapping, Mapping):
            msg = f"expected an object of settings, found {mapping!r}"
            raise InputError(msg)
        check_entries("unknown post-processing settings", mapping, [field.name for field in fields(cls)])
        values = dict(mapping)
        if "further" in values:
            values["further"] = _further_regions(values["further"])
        if "tuned_on" in values:
            values["tuned_on"] = _tuned_on(values["tuned_on"])
        if "steps" in values:
            if not isinstance(values["steps"], list | tuple):
                msg = f"steps must be a list of {', '.join(STEPS)}; got {values['steps']!r}"
                raise InputError(msg)
            values["steps"] = tuple(values["steps"])
        return cls(**values)

    @classmethod
    def from_json(cls, path: Path) -> "PostprocessingConfig":
        """Read ``postprocessing.json``.

        Raises:
            InputError: the file is missing, is not JSON, or holds bad settings.
        """
        content = read_json(path)
        try:
            return cls.from_mapping(content)
        except InputError as error:
            msg = f"{path}: {error}"
            raise InputError(msg) from error

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "tuned_on": dict(self.tuned_on)}

    def to_json(self, path: Path) -> None:
        """Write ``postprocessing.json``."""
        write_json(self.to_mapping(), path)


THRESHOLDS = ("wt", "tc", "et")
RADII = tuple(f"{region}_{operation}" for operation in ("opening", "closing") for region in THRESHOLDS)
SIZES = (*(f"{region}_component_voxels" for region in THRESHOLDS), "et_total_voxels")
PROBABILITIES = (*(f"{region}_component_probability" for region in THRESHOLDS), "et_total_probability")

_AS_NNUNET: dict[str, Any] = {"wt": 0.5, "tc": 0.5, "et": 0.5, "steps": ()}
PRESETS: Mapping[str, dict[str, Any]] = {
    "paper": {},
    "none": _AS_NNUNET,
    "nnunet": {**_AS_NNUNET, "nested": False},
}


def _tuned_on(entries: Any) -> tuple[tuple[str, str], ...]:  # noqa: ANN401 (JSON may hold anything)
    if not isinstance(entries, Mapping) or not all(isinstance(value, str) for value in entries.values()):
        msg = f'"tuned_on" must be an object of folds, each with the identity of its weights; got {entries!r}'
        raise InputError(msg)
    return tuple(entries.items())


def _further_regions(entries: Any) -> tuple[FurtherRegion, ...]:  # noqa: ANN401 (JSON may hold anything)
    try:
        return tuple(FurtherRegion(**entry) for entry in entries)
    except TypeError as error:
        msg = f'"further" must be a list of regions like {asdict(RESECTION_CAVITY)}; got {entries!r}'
        raise InputError(msg) from error
