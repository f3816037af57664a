"""All steps that can follow the thresholds, in their usual order.

To add one, write its class and list it in `_OFF`. This gives each region a step of this kind: its entry in
``postprocessing.json``, its numbers for flags and tuning, and its rows in the table of changes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, replace
from typing import Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.regions import ET, WT
from nnunet_resunet_ds.base.setting_checks import check_choice, check_entries
from postprocessing.components import ComponentFilter, Hysteresis, LargestComponents, MeanFilter, PeakFilter
from postprocessing.morphology import Closing, FillHoles, Opening
from postprocessing.nesting import NESTINGS
from postprocessing.step import STEP, Step
from postprocessing.total_rule import TotalRule

_OFF: tuple[Step, ...] = (
    Hysteresis(WT.name, 0.0, 0.0),
    Opening(WT.name, 0),
    Closing(WT.name, 0),
    FillHoles(WT.name, 0),
    ComponentFilter(WT.name, 0),
    MeanFilter(WT.name, 0.0),
    PeakFilter(WT.name, 0.0),
    LargestComponents(WT.name, 0),
    TotalRule(WT.name, 0),
)
"""A step of each kind, in the usual order."""
STEP_KINDS: Mapping[str, type[Step]] = {step.kind: type(step) for step in _OFF}
"""The classes, by what JSON calls them."""
_PAPER: tuple[Step, ...] = (ComponentFilter(ET.name, 16, 0.9), TotalRule(ET.name, 73, 0.9))
"""The paper's steps (D10)."""


def steps_of(regions: Iterable[str]) -> tuple[Step, ...]:
    """Return every step of some regions, switched off, in the usual order: by kind, then by region.

    Args:
        regions: their names.
    """
    names = tuple(regions)
    return tuple(replace(step, region=name) for step in _OFF for name in names)


USUAL_STEPS = tuple(next((own for own in _PAPER if own.name == step.name), step) for step in steps_of(NESTINGS))
"""Every step of WT, TC and ET, in the usual order, with the paper's numbers; most are off there."""


def step_from_mapping(entry: Any) -> Step:  # noqa: ANN401 (JSON may hold anything)
    """Build a step from what JSON holds.

    Raises:
        InputError: the entry is no step, or one of its settings is missing, unknown or out of range.
    """
    if not isinstance(entry, Mapping):
        msg = f"each of steps must be an object like {USUAL_STEPS[-1].to_mapping()}; got {entry!r}"
        raise InputError(msg)
    check_choice('"step" of each of steps', entry.get(STEP), tuple(STEP_KINDS))
    kind = STEP_KINDS[entry[STEP]]
    values = {name: value for name, value in entry.items() if name != STEP}
    check_entries(f"unknown settings of a step {kind.kind}", values, [field.name for field in fields(kind)])
    missing = [field.name for field in fields(kind) if field.default is MISSING and field.name not in values]
    if missing:
        msg = f"a step {kind.kind} needs {', '.join(missing)}; got {dict(entry)}"
        raise InputError(msg)
    if not isinstance(values["region"], str):
        msg = f"region of a step {kind.kind} must be the name of a region; got {values['region']!r}"
        raise InputError(msg)
    return kind(**values)
