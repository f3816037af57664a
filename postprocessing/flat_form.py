"""Settings as earlier versions wrote them: all numbers side by side, and steps by their names."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nnunet_resunet_ds.base.setting_checks import check_choice
from postprocessing.settings import STEP_SETTINGS
from postprocessing.steps import USUAL_STEPS

_USUAL_NAMES = tuple(step.name for step in USUAL_STEPS)


def is_flat(mapping: Mapping[str, Any]) -> bool:
    """Tell whether settings are in this form; they are of WT, TC and ET."""
    return bool(mapping.keys() & STEP_SETTINGS) or any(isinstance(step, str) for step in mapping.get("steps", []))


def from_flat(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they are written now, from those of earlier versions.

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
    rest = {name: value for name, value in mapping.items() if name not in STEP_SETTINGS}
    return {**rest, "steps": [steps[name].to_mapping() for name in names]}
