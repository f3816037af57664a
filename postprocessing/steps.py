"""All steps that can follow the thresholds, in their usual order.

To add one, write its class and list it in `USUAL_STEPS` for each region. This gives it its entry in
``postprocessing.json``, its numbers for ``--set`` and tuning, and its rows in the table of changes.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.regions import ET, TC, WT
from nnunet_resunet_ds.base.setting_checks import check_choice, check_entries
from postprocessing.components import ComponentFilter, Hysteresis, LargestComponents, MeanFilter, PeakFilter
from postprocessing.morphology import Closing, FillHoles, Opening
from postprocessing.nesting import NESTINGS
from postprocessing.step import STEP, Step
from postprocessing.total_rule import TotalRule

USUAL_STEPS: tuple[Step, ...] = (
    *(Hysteresis(region, 0.0, 0.0) for region in NESTINGS),
    *(Opening(region, 0) for region in NESTINGS),
    *(Closing(region, 0) for region in NESTINGS),
    *(FillHoles(region, 0) for region in NESTINGS),
    ComponentFilter(WT.name, 0),
    ComponentFilter(TC.name, 0),
    ComponentFilter(ET.name, 16, 0.9),
    *(MeanFilter(region, 0.0) for region in NESTINGS),
    *(PeakFilter(region, 0.0) for region in NESTINGS),
    *(LargestComponents(region, 0) for region in NESTINGS),
    TotalRule(WT.name, 0),
    TotalRule(TC.name, 0),
    TotalRule(ET.name, 73, 0.9),
)
"""Every step, in the usual order, with the paper's numbers; most are off there."""
STEP_KINDS: Mapping[str, type[Step]] = {step.kind: type(step) for step in USUAL_STEPS}
"""The classes, by what JSON calls them."""


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
    return kind(**values)
