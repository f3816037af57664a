"""The numbers of a configuration that have names: flags set them, tuning searches them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from postprocessing.further_region import FurtherRegion
from postprocessing.step import Number, Step
from postprocessing.steps import USUAL_STEPS


@dataclass(frozen=True)
class Setting:
    """A number of the configuration with a name: a flag sets it, tuning searches it."""

    number: Number
    field: str
    step: Step | None = None
    """That has the field, with its usual numbers."""
    further: FurtherRegion | None = None
    """That has the field; where no step has it either, the configuration has it."""


def settings_of_steps(steps: Iterable[Step]) -> dict[str, Setting]:
    """Return the numbers of some steps, by their names."""
    return {
        step.setting(field): Setting(number, field, step) for step in steps for field, number in step.numbers.items()
    }


THRESHOLDS = {
    "wt": Number("threshold of whole tumour (WT)", float, at_most=1),
    "tc": Number("threshold of tumour core (TC)", float, at_most=1),
    "et": Number("threshold of enhancing tumour (ET)", float, at_most=1),
}
STEP_SETTINGS = settings_of_steps(USUAL_STEPS)
OF_ALL_REGIONS = {
    "connectivity": Setting(Number("neighbours of a voxel in a component: 6, 18 or 26", int), "connectivity")
}
SETTINGS: Mapping[str, Setting] = {
    **{name: Setting(number, name) for name, number in THRESHOLDS.items()},
    **STEP_SETTINGS,
    **OF_ALL_REGIONS,
}
"""Every number that has a flag of its own, by its name; those of steps and thresholds are of WT, TC and ET."""


def threshold_setting(region: FurtherRegion) -> Setting:
    """Return the threshold of a further region."""
    return Setting(Number(region.setting, float, at_most=1), "threshold", further=region)
