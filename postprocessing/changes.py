"""What post-processing did, for people: a table of every case and step, and a few lines about all of them."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_resunet_ds.base.files import replacing
from postprocessing.case import Change

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
