"""What lies beside predictions and says more about them: run.json, probabilities, the table of changes."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from nnunet_resunet_ds.base.run_file import read_runs
from postprocessing.case import CHANGES, TABLE
from postprocessing.probabilities import PROBABILITIES, mean_probabilities, probabilities_on_grid


@dataclass(frozen=True)
class Beside:
    """What is known of each case of a prediction folder."""

    cases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Of run.json."""
    changes: Mapping[str, list[str]] = field(default_factory=dict)
    """Case → a line for each step of the post-processing that changed something."""

    def warnings(self, case: str) -> list[str]:
        """Return what ``predict`` said of a case's images."""
        return [str(line) for line in self.cases.get(case, {}).get("warnings", [])]

    def mean_probabilities(
        self, case: str, labels: NDArray[np.integer], grid: sitk.Image, *folders: Path
    ) -> dict[str, float]:
        """Return region → mean probability over its voxels: of run.json, or of probabilities in one of the folders.

        Args:
            case: its name.
            labels: (Z, Y, X) in nnU-Net's values.
            grid: where they lie.
            folders: to look into for ``CASE.npz``.
        """
        known = self.cases.get(case, {}).get("mean_probability")
        if isinstance(known, Mapping):
            return {str(name): float(value) for name, value in known.items()}
        file = next((path for folder in folders if (path := folder / f"{case}{PROBABILITIES}").is_file()), None)
        return {} if file is None else mean_probabilities(labels, probabilities_on_grid(file, grid))


def look_beside(folder: Path) -> Beside:
    """Read what lies in a prediction folder; what is damaged counts as not there."""
    runs = read_runs(folder)
    cases = runs.cases if runs else {}
    changes = {case: list(map(_line, entry[CHANGES])) for case, entry in cases.items() if CHANGES in entry}
    return Beside(cases, {**_changes_of_table(folder / TABLE), **_without_empty(changes)})


def _changes_of_table(table: Path) -> dict[str, list[str]]:
    """Return what the table says: of cases that run.json has, the same."""
    changes: dict[str, list[str]] = {}
    if table.is_file():
        with table.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                changes.setdefault(row["case"], []).append(_line(row))
    return _without_empty(changes)


def _without_empty(changes: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {case: [line for line in lines if line] for case, lines in changes.items()}


def _line(change: Mapping[str, Any]) -> str:
    """Say what a step did, of a row of the table or an entry of run.json; nothing where it changed nothing."""
    voxels = int(change.get("voxels") or 0)
    if not voxels:
        return ""
    step = str(change.get("step", "")).replace("_", " ")
    return f"{step}: {voxels} voxels of mean probability {float(change.get('mean_probability') or 0):.2f}"
