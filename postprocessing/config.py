"""All settings of the post-processing in one object that goes to and from ``postprocessing.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
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
from postprocessing.steps import USUAL_STEPS, Number, Step, step_from_mapping

MAX_LABEL = 255
"""Of a uint8 label map."""
CONNECTIVITIES = (6, 18, 26)
"""Voxels that share a face, also an edge, also a corner."""
PROBABILITIES, LOGITS = AVERAGES = ("probabilities", "logits")
"""What flips, tiles and folds were averaged in."""
RUN_SETTING = "postprocessing"
"""Of ``run.json``."""
_THRESHOLDS = {
    "wt": Number("threshold of whole tumour (WT)", float, at_most=1),
    "tc": Number("threshold of tumour core (TC)", float, at_most=1),
    "et": Number("threshold of enhancing tumour (ET)", float, at_most=1),
}
_USUAL_NAMES = tuple(step.name for step in USUAL_STEPS)


@dataclass(frozen=True)
class Setting:
    """A number of the configuration with a name: a flag sets it, tuning searches it."""

    number: Number
    field: str
    step: Step | None = None
    """That has the field, with its usual numbers; None: the configuration has it."""

    @property
    def help(self) -> str:
        """Text for the flag."""
        return self.number.help.format(region=self.step and self.step.region)


_STEP_SETTINGS = {
    step.setting(field): Setting(number, field, step) for step in USUAL_STEPS for field, number in step.numbers.items()
}
SETTINGS: Mapping[str, Setting] = {
    **{name: Setting(number, name) for name, number in _THRESHOLDS.items()},
    **_STEP_SETTINGS,
    "connectivity": Setting(Number("neighbours of a voxel in a component: 6, 18 or 26", int), "connectivity"),
}
"""Every number that has a flag, by its name."""


@dataclass(frozen=True, kw_only=True)
class FurtherRegion:
    """A region outside WT, TC and ET with an output of its own, such as the resection cavity of BraTS 2024."""

    name: str
    label: int
    """Painted where the probability reaches the threshold, over what is there."""
    threshold: float = 0.5


_RESECTION_CAVITY = FurtherRegion(name=RC.name, label=int(Tissue.FURTHER))


@dataclass(frozen=True, kw_only=True)
class PostprocessingConfig:
    """Thresholds, then steps in their order. The defaults are the paper's.

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
    further: tuple[FurtherRegion, ...] = (_RESECTION_CAVITY,)
    """Outputs after WT, TC and ET, in their order; painted in this order, the last one wins."""
    steps: tuple[Step, ...] = USUAL_STEPS
    """What follows the thresholds, in this order. Those that are off, as usual, are left out."""
    connectivity: int = 6
    """Of components."""
    averaging: str | None = None
    """What the probabilities were averaged in that these numbers were tuned on; None: they were not tuned."""
    tuned_on: tuple[tuple[str, str], ...] = ()
    """Fold and identity of each of the weights that these numbers were tuned on."""

    def __post_init__(self) -> None:
        for name, number in _THRESHOLDS.items():
            number.check(name, getattr(self, name))
        check_flag("nested", self.nested)
        self._check_further()
        self._check_steps()
        if self.connectivity not in CONNECTIVITIES:
            msg = f"connectivity must be one of {CONNECTIVITIES}; got {self.connectivity!r}"
            raise InputError(msg)
        if self.averaging is not None:
            check_choice("averaging", self.averaging, AVERAGES)
        # so that configurations that do the same are equal
        steps = tuple(step for step in self.steps if step.is_on or step not in USUAL_STEPS)
        object.__setattr__(self, "steps", steps)

    def _check_further(self) -> None:
        for region in self.further:
            check_number(f"threshold of {region.name}", region.threshold, at_most=1)
            check_whole_number(f"label of {region.name}", region.label, at_least=int(Tissue.ET) + 1, at_most=MAX_LABEL)
        labels = [region.label for region in self.further]
        if len(set(labels)) != len(labels):
            msg = f"each of the further regions needs a label of its own; got {labels}"
            raise InputError(msg)

    def _check_steps(self) -> None:
        names = [step.name for step in self.steps]
        if len(set(names)) < len(names):
            msg = f"each of steps can be there once; got {', '.join(names)}"
            raise InputError(msg)

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
        return PRESETS[name]

    def value(self, name: str) -> float:
        """Return the number of `SETTINGS` of this name."""
        setting = SETTINGS[name]
        holder = self if setting.step is None else self._step_or_off(setting.step)
        value: float = getattr(holder, setting.field)
        return value

    def has_effect(self, name: str) -> bool:
        """Tell whether another value of this number of `SETTINGS` can matter: not if its step is off and stays off."""
        setting = SETTINGS[name]
        if setting.step is None or setting.field == setting.step.switch():
            return True
        return self._step_or_off(setting.step).is_on

    def _step_or_off(self, usual: Step) -> Step:
        """Return the step of a usual one's name; where there is none, the usual one switched off."""
        return self._step(usual.name) or usual.off()

    def _step(self, name: str) -> Step | None:
        return next((step for step in self.steps if step.name == name), None)

    def with_values(self, **values: float) -> "PostprocessingConfig":
        """Return these settings with other numbers; a step that is not there comes to its usual place.

        Args:
            values: by the names of `SETTINGS`.

        Raises:
            InputError: a value is of the wrong type or out of range.
        """
        config = self
        for name, value in values.items():
            setting = SETTINGS[name]
            change: dict[str, Any] = {setting.field: value}
            if setting.step is not None:
                step = config._step_or_off(setting.step)
                change = {"steps": _with_step(config.steps, step.with_value(setting.field, value))}
            config = replace(config, **change)
        return config

    def with_steps(self, names: Sequence[str]) -> "PostprocessingConfig":
        """Return these settings with the named steps alone, in this order; one that is not there has its usual numbers.

        Raises:
            InputError: there is no such step, or it is named twice.
        """
        known = {step.name: step for step in (*USUAL_STEPS, *self.steps)}
        for name in names:
            check_choice("each of steps", name, tuple(known))
        return replace(self, steps=tuple(known[name] for name in names))

    @classmethod
    def from_mapping(cls, mapping: Any) -> "PostprocessingConfig":  # noqa: ANN401 (JSON may hold anything)
        """Build from what JSON holds, also in the form of earlier versions; what is left out has the paper's value.

        Raises:
            InputError: an entry is unknown or out of range.
        """
        if not isinstance(mapping, Mapping):
            msg = f"expected an object of settings, found {mapping!r}"
            raise InputError(msg)
        values = dict(mapping)
        if not isinstance(values.get("steps", []), list | tuple):
            msg = f"steps must be a list; got {values['steps']!r}"
            raise InputError(msg)
        if values.keys() & _STEP_SETTINGS or any(isinstance(step, str) for step in values.get("steps", [])):
            values = _from_flat(values)
        check_entries("unknown post-processing settings", values, [field.name for field in fields(cls)])
        for name, read in _READERS.items():
            if name in values:
                values[name] = read(values[name])
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
        mapping = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            **mapping,
            "further": [asdict(region) for region in self.further],
            "steps": [step.to_mapping() for step in self.steps],
            "tuned_on": dict(self.tuned_on),
        }

    def to_json(self, path: Path) -> None:
        """Write ``postprocessing.json``."""
        write_json(self.to_mapping(), path)


_NO_STEPS = PostprocessingConfig(wt=0.5, tc=0.5, et=0.5, steps=())
PRESETS: Mapping[str, PostprocessingConfig] = {
    "paper": PostprocessingConfig(),
    "none": _NO_STEPS,
    "nnunet": replace(_NO_STEPS, nested=False),
}


def _with_step(steps: tuple[Step, ...], step: Step) -> tuple[Step, ...]:
    """Return steps with one in the place of its name, else before the first that usually comes later."""
    names = [other.name for other in steps]
    if step.name in names:
        place = names.index(step.name)
        return (*steps[:place], step, *steps[place + 1 :])
    later = _USUAL_NAMES[_USUAL_NAMES.index(step.name) :]
    place = next((number for number, name in enumerate(names) if name in later), len(names))
    return (*steps[:place], step, *steps[place:])


def _from_flat(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they are written now, from those of earlier versions: flat numbers and names of steps.

    Raises:
        InputError: a number is out of range, or a name is unknown.
    """
    names = mapping.get("steps", _USUAL_NAMES)
    for name in names:
        check_choice("each of steps", name, _USUAL_NAMES)
    steps = {}
    for step in USUAL_STEPS:
        given = {field: mapping[step.setting(field)] for field in step.numbers if step.setting(field) in mapping}
        steps[step.name] = replace(step, **given)
    rest = {name: value for name, value in mapping.items() if name not in _STEP_SETTINGS}
    return {**rest, "steps": [steps[name].to_mapping() for name in names]}


def _steps(entries: Sequence[Any]) -> tuple[Step, ...]:
    return tuple(map(step_from_mapping, entries))


def _tuned_on(entries: Any) -> tuple[tuple[str, str], ...]:  # noqa: ANN401 (JSON may hold anything)
    if not isinstance(entries, Mapping) or not all(isinstance(value, str) for value in entries.values()):
        msg = f'"tuned_on" must be an object of folds, each with the identity of its weights; got {entries!r}'
        raise InputError(msg)
    return tuple(entries.items())


def _further_regions(entries: Any) -> tuple[FurtherRegion, ...]:  # noqa: ANN401 (JSON may hold anything)
    msg = f'"further" must be a list of regions like {asdict(_RESECTION_CAVITY)}; got {entries!r}'
    try:
        regions = tuple(FurtherRegion(**entry) for entry in entries)
    except TypeError as error:
        raise InputError(msg) from error
    if not all(isinstance(region.name, str) for region in regions):
        raise InputError(msg)
    return regions


_READERS = {"further": _further_regions, "steps": _steps, "tuned_on": _tuned_on}
"""Of the entries that are more than a number."""


def _in_present_form(settings: Any) -> Any:  # noqa: ANN401 (JSON may hold anything)
    """Return what ``run.json`` says of the settings as it is written today; what cannot be read stays as it is."""
    try:
        return PostprocessingConfig.from_mapping(settings).to_mapping()
    except InputError:
        return settings


EARLIER_FORMS = {RUN_SETTING: _in_present_form}
"""How a run that goes on with the label maps of an earlier version compares its settings."""
