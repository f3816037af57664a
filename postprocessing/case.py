"""Post-process one case: thresholds, then the steps; and say what each step changed."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nnunet_resunet_ds.base.counted import counted
from nnunet_resunet_ds.base.csv_table import write_csv
from nnunet_resunet_ds.base.errors import InputError
from postprocessing.config import PostprocessingConfig
from postprocessing.region_nestings import nestings_of
from postprocessing.step import Step
from postprocessing.thresholds import apply_thresholds
from postprocessing.volume import Labels, Moves, Probabilities, Volume

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
    emptied: str = ""
    """The region that had voxels before and has none now; of nested ones the outermost."""


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
    for _ in _take_steps(labels, probabilities, config, voxel_volume):
        pass
    return labels


def postprocess_explained(
    probabilities: Probabilities, config: PostprocessingConfig, voxel_volume: float | None = None
) -> tuple[Labels, list[Change]]:
    """Do what `postprocess` does, and say what each step that is on has changed."""
    labels = apply_thresholds(probabilities, config)
    taken = _take_steps(labels, probabilities, config, voxel_volume)
    return labels, [_change(one, volume) for one, volume in taken]


class _Taken(NamedTuple):
    """A step that was taken."""

    step: Step
    moves: Moves
    emptied: Set[str]
    """Regions whose last voxels left."""


def _take_steps(
    labels: Labels, probabilities: Probabilities, config: PostprocessingConfig, voxel_volume: float | None
) -> Iterator[tuple[_Taken, Volume]]:
    """Take the steps that are on, in place; yield each with what it did."""
    steps = [step for step in config.steps if step.is_on]
    _check_voxel_volume(steps, voxel_volume)
    if not steps:
        return
    nestings = nestings_of(config, len(probabilities))
    volume = Volume(labels, probabilities, config.connectivity, voxel_volume, nestings)
    for step in steps:
        moves = step.moves(volume) if step.region in nestings else Moves(step.region)
        there = volume.regions_there
        volume.take(moves)
        yield _Taken(step, moves, there - volume.regions_there), volume


def _check_voxel_volume(steps: Sequence[Step], voxel_volume: float | None) -> None:
    """Refuse sizes in mm³ where the volume of a voxel is not known."""
    in_mm3 = [step.name for step in steps if step.needs_voxel_volume]
    if in_mm3 and voxel_volume is None:
        msg = f"{', '.join(in_mm3)}: a size in mm³ needs voxel_volume, the mm³ of a voxel"
        raise InputError(msg)


def _change(taken: _Taken, volume: Volume) -> Change:
    step, moves = taken.step, taken.moves
    voxels = moves.voxels
    if not len(voxels):
        return Change(step.name, 0, 0, None)
    n_components = moves.n_components
    if n_components is None:
        n_components = volume.components_of(step.region, voxels).count
    mean = volume.probability(step.region)[voxels].mean(dtype=np.float64)
    return Change(step.name, len(voxels), n_components, float(mean), _outermost(taken.emptied, volume))


def _outermost(regions: Set[str], volume: Volume) -> str:
    """Return the region of some that lies in none of the others; "" where there is none."""
    return next((name for name in regions if volume.nestings[name].within not in regions), "")


def changes_of(cases: Mapping[str, Mapping[str, Any]]) -> dict[str, list[Change]]:
    """Return what post-processing changed in each case, where the entries of ``run.json`` say it."""
    found = {case: _changes_of_case(entry) for case, entry in cases.items()}
    return {case: changes for case, changes in found.items() if changes is not None}


def _changes_of_case(entry: Mapping[str, Any]) -> list[Change] | None:
    try:
        return [Change(**change) for change in entry[CHANGES]]
    except (KeyError, TypeError):  # none are noted, or a file that another version or a hand has written
        return None


def write_changes(changes: Changes, path: Path) -> None:
    """Write a row for each case and each step that is on; a step that changed nothing has no mean probability."""
    columns = [field.name for field in fields(Change)]
    rows = ([case, *_row(change).values()] for case in sorted(changes) for change in changes[case])
    write_csv(path, ["case", *columns], rows)


def summary_lines(changes: Changes) -> Iterator[str]:
    """Yield a line for each step: in how many cases it changed something, and how much."""
    by_step: dict[str, list[Change]] = {}
    for case in changes.values():
        for change in case:
            by_step.setdefault(change.step, []).append(change)
    for step, of_cases in by_step.items():
        changed = [change for change in of_cases if change.voxels]
        line = f"{step}: changed {len(changed)} of {counted(len(of_cases), 'case')}"
        if changed:
            voxels, components = (sum(getattr(change, name) for change in changed) for name in ("voxels", "components"))
            weights = [change.voxels for change in changed]
            mean = np.average([change.mean_probability or 0.0 for change in changed], weights=weights)
            line += f", {counted(voxels, 'voxel')} in {counted(components, 'component')} of mean probability {mean:.2f}"
        yield line


def _row(change: Change) -> dict[str, object]:
    row = asdict(change)
    if change.mean_probability is not None:
        row["mean_probability"] = f"{change.mean_probability:.4f}"
    return row
