"""Post-process one case: thresholds, then the steps; and say what each step changed."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from nnunet_resunet_ds.base.files import replacing
from postprocessing.config import PostprocessingConfig
from postprocessing.steps import (
    MEMBERSHIPS,
    Labels,
    close_region,
    open_region,
    remove_components,
    remove_doubtful_total,
)
from postprocessing.thresholds import apply_thresholds


@dataclass(frozen=True)
class Change:
    """What one step did to one case."""

    step: str
    voxels: int
    """That have another label since."""
    components: int
    """That these voxels form."""
    mean_probability: float | None
    """Of the step's region over these voxels; None where there are none."""


def postprocess(probabilities: NDArray[np.floating], config: PostprocessingConfig) -> Labels:
    """Turn region probabilities into a label map.

    Args:
        probabilities: (R, Z, Y, X): WT, TC, ET, then further disjoint regions as configured.
        config: thresholds and steps, for example ``PostprocessingConfig.paper()``.

    Returns:
        Labels (Z, Y, X) in nnU-Net's values: 0 background, 1 ED, 2 NCR, 3 ET, and those of the further regions.

    Raises:
        InputError: the array is not (R, Z, Y, X), or not probabilities.
    """
    labels = apply_thresholds(probabilities, config)
    for _ in _steps(labels, probabilities, config):
        pass
    return labels


def postprocess_explained(
    probabilities: NDArray[np.floating], config: PostprocessingConfig
) -> tuple[Labels, list[Change]]:
    """Do what `postprocess` does, and say what each step that is on has changed."""
    labels = apply_thresholds(probabilities, config)
    changes = [
        _change(step, before != after, values, config)
        for step, before, after, values in _steps(labels, probabilities, config)
    ]
    return labels, changes


def _steps(
    labels: Labels, probabilities: NDArray[np.floating], config: PostprocessingConfig
) -> Iterator[tuple[str, Labels, Labels, NDArray[np.floating]]]:
    """Take the steps that are on, in place, each with what it found, what it left, and the probabilities there."""
    steps = [step for step in config.steps if config.is_on(step)]
    foreground = labels > 0
    if not foreground.any():
        yield from ((step, labels, labels, probabilities) for step in steps)
        return
    box = find_objects(foreground.view(np.uint8))[0]  # no step reaches beyond it
    values = probabilities[(slice(None), *box)]
    for step in steps:
        before = labels[box].copy()
        labels[box] = apply_step(step, before, values, config)
        yield step, before, labels[box], values


def apply_step(step: str, labels: Labels, probabilities: NDArray[np.floating], config: PostprocessingConfig) -> Labels:
    """Return labels (Z, Y, X) after one step of `STEPS`; those given stay as they are."""
    name, operation = step.split("_")
    if operation == "total":
        return remove_doubtful_total(labels, probabilities, config)
    if operation == "components":
        return remove_components(labels, probabilities, config, name)
    change = open_region if operation == "opening" else close_region
    return change(labels, getattr(config, step), name)


def _change(
    step: str, changed: NDArray[np.bool_], probabilities: NDArray[np.floating], config: PostprocessingConfig
) -> Change:
    n_voxels = int(np.count_nonzero(changed))
    if not n_voxels:
        return Change(step, 0, 0, None)
    _, n_components = cc3d.connected_components(changed, connectivity=config.connectivity, return_N=True)
    channel = MEMBERSHIPS[step.partition("_")[0]].channel
    return Change(step, n_voxels, int(n_components), float(probabilities[channel][changed].mean(dtype=np.float64)))


TABLE = "postprocessing_changes.csv"
CHANGES = "changes"
"""Of a case in ``run.json``."""

Changes = Mapping[str, Sequence[Change]]
"""Of each case, by its name."""


def changes_of(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Change]]:
    """Return what post-processing changed in each case, as the entries of ``run.json`` say it."""
    return {
        case: [Change(**change) for change in entry[CHANGES]] for case, entry in cases.items() if CHANGES in entry
    }


def write_changes(changes: Changes, path: Path) -> None:
    """Write a row for each case and each step that is on; a step that changed nothing has no mean probability."""
    columns = ["case", *(field.name for field in fields(Change))]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, columns)
        table.writeheader()
        table.writerows({"case": case, **_row(change)} for case in sorted(changes) for change in changes[case])


def summary_lines(changes: Changes) -> Iterator[str]:
    """Yield a line for each step: in how many cases it changed something, and how much."""
    by_step: dict[str, list[Change]] = {}
    for case in changes.values():
        for change in case:
            by_step.setdefault(change.step, []).append(change)
    for step, of_cases in by_step.items():
        changed = [change for change in of_cases if change.voxels]
        line = f"{step}: changed {len(changed)} of {len(of_cases)} cases"
        if changed:
            voxels, components = (sum(getattr(change, name) for change in changed) for name in ("voxels", "components"))
            weights = [change.voxels for change in changed]
            mean = np.average([change.mean_probability or 0.0 for change in changed], weights=weights)
            line += f", {voxels} voxels in {components} components of mean probability {mean:.2f}"
        yield line


def _row(change: Change) -> dict[str, object]:
    row = asdict(change)
    if change.mean_probability is not None:
        row["mean_probability"] = f"{change.mean_probability:.4f}"
    return row
