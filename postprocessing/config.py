"""All settings of the post-processing in one object that goes to and from ``postprocessing.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NoReturn

from nnunet_resunet_ds.base.errors import InputError, said_of
from nnunet_resunet_ds.base.files import read_json, write_json
from nnunet_resunet_ds.base.regions import ET, REGIONS, TC, WT, Tissue
from nnunet_resunet_ds.base.setting_checks import check_choice, check_entries, check_flag
from postprocessing.flat_form import from_flat, is_flat
from postprocessing.further_region import (
    RESECTION_CAVITY,
    FurtherRegion,
    check_further_regions,
    read_further_regions,
)
from postprocessing.settings import (
    OF_ALL_REGIONS,
    SETTINGS,
    THRESHOLDS,
    Setting,
    settings_of_steps,
    threshold_setting,
)
from postprocessing.step import Step, in_settings
from postprocessing.steps import STEP_KINDS, USUAL_STEPS, step_from_mapping, steps_of

CONNECTIVITIES = (6, 18, 26)
"""Voxels that share a face, also an edge, also a corner."""
PROBABILITIES, LOGITS = AVERAGES = ("probabilities", "logits")
"""What flips, tiles and folds were averaged in."""
AVERAGE, RUN_SETTING = "average", "postprocessing"
"""Of ``run.json``: one of `AVERAGES`, and post-processing settings."""
_OF_TUMOUR_REGIONS = (*THRESHOLDS, "nested")
"""Fields that mean nothing where WT, TC and ET are not there."""


@dataclass(frozen=True, kw_only=True)
class PostprocessingConfig:
    """Thresholds, then steps in their order. The defaults are the paper's.

    The settings of a model without WT, TC and ET are of `further` regions alone: nnU-Net's painting with a threshold
    each, and steps of these regions.

    Raises:
        InputError: a value is of the wrong type or out of range, or is of a region that is not there.
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
    steps: tuple[Step, ...] = USUAL_STEPS
    """What follows the thresholds, in this order. Those that are off, as usual, are left out."""
    connectivity: int = 6
    """Of components."""
    averaging: str | None = None
    """What the probabilities were averaged in that these numbers were tuned on; None: they were not tuned."""
    flips: bool | None = None
    """Whether these probabilities were averaged over flips, too; None: not tuned, or not known."""
    tuned_on: tuple[tuple[str, str], ...] = ()
    """Fold and identity of each of the weights that these numbers were tuned on."""
    tumour_regions: bool = True
    """Whether the first three outputs are WT, TC and ET. Where they are not, all outputs are `further` regions."""

    def __post_init__(self) -> None:
        for name, number in THRESHOLDS.items():
            number.check(name, getattr(self, name))
        check_flag("nested", self.nested)
        check_flag("tumour_regions", self.tumour_regions)
        check_further_regions(self.further, (int(Tissue.ET) if self.tumour_regions else 0) + 1)
        if not self.tumour_regions:
            self._check_without_tumour_regions()
        self._check_steps()
        if self.connectivity not in CONNECTIVITIES:
            msg = f"connectivity must be one of {CONNECTIVITIES}; got {self.connectivity!r}"
            raise InputError(msg)
        if self.averaging is not None:
            check_choice("averaging", self.averaging, AVERAGES)
        if self.flips is not None:
            check_flag("flips", self.flips)
        # so that configurations that do the same are equal
        usual = self.usual_steps
        object.__setattr__(self, "steps", tuple(step for step in self.steps if step.is_on or step not in usual))

    def _check_without_tumour_regions(self) -> None:
        """Refuse thresholds of WT, TC and ET; the paper's steps are the default of a field, and are no wish."""
        if not self.further:
            msg = '"further" must name all regions where "tumour_regions" is false'
            raise InputError(msg)
        usual = {field.name: field.default for field in fields(self)}
        changed = [name for name in _OF_TUMOUR_REGIONS if getattr(self, name) != usual[name]]
        if changed:
            self._refuse(", ".join(changed))
        if self.steps == usual["steps"]:
            object.__setattr__(self, "steps", ())

    def _refuse(self, what: str) -> NoReturn:
        """Refuse what is for WT, TC and ET, because these are not there.

        Raises:
            InputError: always.
        """
        names = ", ".join(region.name for region in self.further)
        msg = (
            f"{what}: for WT, TC and ET alone, and the regions here are {names}; leave it out, or set a threshold such "
            f"as --threshold '{self.further[0].name}=0.4'"
        )
        raise InputError(msg)

    def _check_steps(self) -> None:
        for step in self.steps:
            check_choice(f"region of a step {step.kind}", step.region, self.region_names)
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

    def with_preset(self, name: str) -> "PostprocessingConfig":
        """Return the settings of a name for the same regions: see `preset`.

        Raises:
            InputError: no such preset, or the paper's, which is for WT, TC and ET, where these are not there.
        """
        preset = self.preset(name)
        if not self.tumour_regions and preset.steps:
            self._refuse(f"preset {name}")
        further = tuple(replace(region, threshold=FurtherRegion.threshold) for region in self.further)
        if self.tumour_regions:
            return replace(preset, further=further)
        return PostprocessingConfig(further=further, tumour_regions=False)

    @property
    def n_tumour_regions(self) -> int:
        """How many outputs come before those of `further`: three or none."""
        return len(REGIONS) if self.tumour_regions else 0

    @property
    def region_names(self) -> tuple[str, ...]:
        """The names of all regions, in the order of the outputs."""
        return (*((WT.name, TC.name, ET.name) if self.tumour_regions else ()), *(one.name for one in self.further))

    @property
    def usual_steps(self) -> tuple[Step, ...]:
        """Every step of these regions, in the usual order: those of further regions come first.

        What a step of these uncovers is then there when the steps of WT, TC and ET begin.
        """
        of_tumour = USUAL_STEPS if self.tumour_regions else ()
        names = {step.region for step in of_tumour}
        return (*steps_of(region.name for region in self.further if region.name not in names), *of_tumour)

    @property
    def settings(self) -> dict[str, Setting]:
        """Every number that can be set, by its name: `SETTINGS` where these count, and those of further regions."""
        usual = SETTINGS if self.tumour_regions else OF_ALL_REGIONS
        thresholds = {region.setting: threshold_setting(region) for region in self.further}
        return {**settings_of_steps(self.usual_steps), **usual, **thresholds}

    def value(self, name: str) -> float:
        """Return the number of `settings` of this name."""
        setting = self.settings[name]
        holder = setting.further or (self if setting.step is None else self._step_or_off(setting.step))
        value: float = getattr(holder, setting.field)
        return value

    def has_effect(self, name: str) -> bool:
        """Tell whether another value of this number of `settings` can matter: not if its step is off and stays off."""
        setting = self.settings[name]
        if setting.step is None or setting.field in setting.step.switches:
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
            values: by the names of `settings`.

        Raises:
            InputError: a value is of the wrong type or out of range, or is of WT, TC and ET where these are not there.
        """
        config = self
        for name, value in values.items():
            if name not in config.settings:
                config._refuse(name)
            config = replace(config, **config._change(config.settings[name], value))
        return config

    def _change(self, setting: Setting, value: float) -> dict[str, Any]:
        """Return the fields of these settings that another number changes."""
        if setting.further is not None:
            changed = replace(setting.further, threshold=value)
            return {"further": tuple(changed if region == setting.further else region for region in self.further)}
        if setting.step is not None:
            step = self._step_or_off(setting.step)
            changed_step = step.with_value(setting.field, value)
            return {"steps": _with_step(self.steps, changed_step, [usual.name for usual in self.usual_steps])}
        return {setting.field: value}

    def with_threshold(self, region: str, value: float) -> "PostprocessingConfig":
        """Return these settings with another threshold of a further region.

        Args:
            region: its name, in large or small letters.
            value: from 0 to 1.

        Raises:
            InputError: there is no such region, or the value is out of range.
        """
        found = [further for further in self.further if further.name.lower() == region.lower()]
        if not found:
            names = ", ".join(further.name for further in self.further) or "none"
            first = "; those of WT, TC and ET are set by --wt, --tc and --et" if self.tumour_regions else ""
            msg = f"no region {region} with a threshold of its own here, but {names}{first}"
            raise InputError(msg)
        return self.with_values(**{found[0].setting: value})

    def with_number(self, name: str, value: float) -> "PostprocessingConfig":
        """Return these settings with another number of any region.

        Args:
            name: of `settings`, such as ``rc_component_voxels``.
            value: a whole one where the setting takes these.

        Raises:
            InputError: there is no such setting, or the value is out of range.
        """
        if name not in self.settings:
            regions = ", ".join(in_settings(region) for region in self.region_names)
            numbers = ", ".join(number.name for kind in STEP_KINDS.values() for number in kind.numbers.values())
            example = f"{in_settings(self.region_names[-1])}_component_voxels=16"
            msg = (
                f"no setting {name} here; the regions are {regions}, and the numbers of their steps {numbers}: write "
                f"one of each, such as {example}"
            )
            raise InputError(msg)
        is_whole = self.settings[name].number.type is int
        return self.with_values(**{name: value if is_whole else float(value)})

    def with_steps(self, names: Sequence[str]) -> "PostprocessingConfig":
        """Return these settings with the named steps alone, in this order; one that is not there has its usual numbers.

        Raises:
            InputError: there is no such step, or it is named twice.
        """
        known = {step.name: step for step in (*self.usual_steps, *self.steps)}
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
        of_tumour = values.get("tumour_regions") is not False
        if of_tumour and is_flat(values):
            values = from_flat(values)
        written = cls._fields_of(tumour_regions=of_tumour)
        check_entries("unknown post-processing settings", values, [*written, "tumour_regions"])
        if not of_tumour:
            values.setdefault("further", [])
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
        with said_of(path):
            return cls.from_mapping(content)

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values for JSON, without those that mean nothing for these regions."""
        mapping = {field.name: getattr(self, field.name) for field in fields(self)}
        mapping |= {
            "further": [asdict(region) for region in self.further],
            "steps": [step.to_mapping() for step in self.steps],
            "tuned_on": dict(self.tuned_on),
        }
        return {name: mapping[name] for name in self._fields_of(tumour_regions=self.tumour_regions)}

    @classmethod
    def _fields_of(cls, *, tumour_regions: bool) -> list[str]:
        """Return the names that JSON has for settings of these regions."""
        left_out = ("tumour_regions",) if tumour_regions else _OF_TUMOUR_REGIONS
        return [field.name for field in fields(cls) if field.name not in left_out]

    def to_json(self, path: Path) -> None:
        """Write ``postprocessing.json``."""
        write_json(self.to_mapping(), path)


_NO_STEPS = PostprocessingConfig(wt=0.5, tc=0.5, et=0.5, steps=())
PRESETS: Mapping[str, PostprocessingConfig] = {
    "paper": PostprocessingConfig(),
    "none": _NO_STEPS,
    "nnunet": replace(_NO_STEPS, nested=False),
}


def _with_step(steps: tuple[Step, ...], step: Step, usual_names: Sequence[str]) -> tuple[Step, ...]:
    """Return steps with one in the place of its name, else before the first that usually comes later."""
    names = [other.name for other in steps]
    if step.name in names:
        place = names.index(step.name)
        return (*steps[:place], step, *steps[place + 1 :])
    later = usual_names[usual_names.index(step.name) :]
    place = next((number for number, name in enumerate(names) if name in later), len(names))
    return (*steps[:place], step, *steps[place:])


def _steps(entries: Sequence[Any]) -> tuple[Step, ...]:
    return tuple(map(step_from_mapping, entries))


def _tuned_on(entries: Any) -> tuple[tuple[str, str], ...]:  # noqa: ANN401 (JSON may hold anything)
    if not isinstance(entries, Mapping) or not all(isinstance(value, str) for value in entries.values()):
        msg = f'"tuned_on" must be an object of folds, each with the identity of its weights; got {entries!r}'
        raise InputError(msg)
    return tuple(entries.items())


_READERS = {"further": read_further_regions, "steps": _steps, "tuned_on": _tuned_on}
"""Of the entries that are more than a number."""


def _in_present_form(settings: Any) -> Any:  # noqa: ANN401 (JSON may hold anything)
    """Return what ``run.json`` says of the settings as it is written today; what cannot be read stays as it is."""
    try:
        return PostprocessingConfig.from_mapping(settings).to_mapping()
    except InputError:
        return settings


EARLIER_FORMS = {RUN_SETTING: _in_present_form}
"""How a run that goes on with the label maps of an earlier version compares its settings."""
