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

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import replacing
from postprocessing.config import PostprocessingConfig
from postprocessing.step import NESTINGS, Labels, Probabilities, Step
from postprocessing.thresholds import apply_thresholds

TABLE = "postprocessing_changes.csv"
CHANGES = "changes"
"""Of a case in ``run.json``."""


@dataclass(frozen=True)
class Change:
    """What one step did to one case."""

    step: str
    voxels: int
    """How many have another label now."""
    components: int
    """That these voxels form."""
    mean_probability: float | None
    """Of the step's region over these voxels; None where there are none."""


Changes = Mapping[str, Sequence[Change]]
"""Of each case, by its name."""


def postprocess(
    probabilities: Probabilities, config: PostprocessingConfig, voxel_volume: float | None = None
) -> Labels:
    """Turn region probabilities into a label map.

    Args:
        probabilities: (R, Z, Y, X): WT, TC, ET, then further disjoint regions as configured.
        config: thresholds and steps, for example ``PostprocessingConfig.paper()``.
        voxel_volume: in mm³; needed where a step has a size in mm³.

    Returns:
        Labels (Z, Y, X) in nnU-Net's values: 0 background, 1 ED, 2 NCR, 3 ET, and those of the further regions.

    Raises:
        InputError: the array is not (R, Z, Y, X), or not probabilities; or a step needs the volume of a voxel.
    """
    labels = apply_thresholds(probabilities, config)
    for _ in _steps(labels, probabilities, config, voxel_volume):
        pass
    return labels


def postprocess_explained(
    probabilities: Probabilities, config: PostprocessingConfig, voxel_volume: float | None = None
) -> tuple[Labels, list[Change]]:
    """Do what `postprocess` does, and say what each step that is on has changed."""
    labels = apply_thresholds(probabilities, config)
    changes = [
        _change(step, before != after, values, config.connectivity)
        for step, before, after, values in _steps(labels, probabilities, config, voxel_volume)
    ]
    return labels, changes


def _steps(
    labels: Labels, probabilities: Probabilities, config: PostprocessingConfig, voxel_volume: float | None
) -> Iterator[tuple[Step, Labels, Labels, Probabilities]]:
    """Take the steps that are on, in place; yield each with labels before and after, and the probabilities there."""
    steps = [step for step in config.steps if step.is_on]
    _check_voxel_volume(steps, voxel_volume)
    box = _box(labels, probabilities, steps)
    if box is None:
        yield from ((step, labels, labels, probabilities) for step in steps)
        return
    values = probabilities[(slice(None), *box)]
    for step in steps:
        before = labels[box].copy()
        labels[box] = step.apply(before, values, config.connectivity, voxel_volume)
        yield step, before, labels[box], values


def _check_voxel_volume(steps: Sequence[Step], voxel_volume: float | None) -> None:
    """Refuse sizes in mm³ where the volume of a voxel is not known."""
    in_mm3 = [step.name for step in steps if step.needs_voxel_volume]
    if in_mm3 and voxel_volume is None:
        msg = f"{', '.join(in_mm3)}: a size in mm³ needs voxel_volume, the mm³ of a voxel"
        raise InputError(msg)


def _box(labels: Labels, probabilities: Probabilities, steps: Sequence[Step]) -> tuple[slice, ...] | None:
    """Return the box of all that is tumour or may become it by these steps; None where nothing is."""
    foreground = labels > 0
    for step in steps:
        growth = step.growth(probabilities)
        if growth is not None:
            foreground |= growth
    return find_objects(foreground.view(np.uint8))[0] if foreground.any() else None


def _change(step: Step, changed: NDArray[np.bool_], probabilities: Probabilities, connectivity: int) -> Change:
    n_voxels = int(np.count_nonzero(changed))
    if not n_voxels:
        return Change(step.name, 0, 0, None)
    _, n_components = cc3d.connected_components(changed, connectivity=connectivity, return_N=True)
    values = probabilities[NESTINGS[step.region].channel][changed]
    return Change(step.name, n_voxels, int(n_components), float(values.mean(dtype=np.float64)))


def changes_of(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Change]]:
    """Return what post-processing changed in each case, as the entries of ``run.json`` say it."""
    return {case: [Change(**change) for change in entry[CHANGES]] for case, entry in cases.items() if CHANGES in entry}


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
