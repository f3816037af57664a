"""Say what deserves a second look in a prediction: our flags, and what predict and post-processing noted about it."""

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cc3d
import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.case_notes import ABSENT, WARNINGS
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.regions import GTV, WT
from nnunet_resunet_ds.base.run_file import MODELS, WEIGHTS, Runs, read_runs
from nnunet_resunet_ds.evaluation.protocols import Protocol
from nnunet_resunet_ds.uncertainty.expected_dice import read_expected_dice
from nnunet_resunet_ds.uncertainty.maps import MAPS, map_file
from nnunet_resunet_ds.uncertainty.region_certainty import CERTAINTY, DISAGREEMENT, EXPECTED
from postprocessing.case import TABLE, changes_of
from postprocessing.probabilities import mean_probabilities
from postprocessing.saved_probabilities import SavedProbabilities

Item = TypeVar("Item")
Certainty = Mapping[str, Mapping[str, float]]
"""Region → name → number; see `nnunet_resunet_ds.uncertainty.region_certainty.RegionCertainty`."""

MIN_PROBABILITY = 0.8
"""Regions of a lower mean probability are flagged; confident ones have more than 0.9."""
MIN_ET_VOXELS = 73
"""Fewer voxels of enhancing tumour are flagged: the paper's rule doubts them, too."""
MIN_PART_VOLUME = 100.0
"""Separate parts of the first region are counted from so many mm³ on."""
MAX_PARTS = 3
LEAST_EXPECTED_DICE = 0.7
"""Regions of which less is expected are flagged."""
MAX_DISAGREEMENT = 0.3
"""Regions on which folds disagree more, as 1 − their Dice, are flagged."""
_MODEL_FOLDERS = "model_folders"
"""In run.json: where the models lay that predicted."""
_TUMOURS = (WT.name, GTV.name)
"""First regions that are all of the tumour."""


def flags(
    labels: NDArray[np.integer], protocol: Protocol, voxel_volume: float, probabilities: Mapping[str, float]
) -> list[str]:
    """Return a short line for each reason to look at a prediction, with or without a reference.

    Args:
        labels: predicted, of any shape (3-D), in the protocol's values.
        protocol: says what the regions are.
        voxel_volume: in mm³.
        probabilities: region → mean probability over its voxels, as far as it is known.
    """
    name, rule = next(iter(protocol.regions.items()))
    whole = np.isin(labels, rule.labels)
    if not whole.any():
        return [f"no {'tumour' if name in _TUMOURS else name} predicted"]
    return [
        *_enhancing_tumour(labels, protocol),
        *_parts(whole, name, voxel_volume),
        *(
            f"low confidence: {region} has mean probability {value:.2f}"
            for region, value in probabilities.items()
            if value < MIN_PROBABILITY
        ),
    ]


def doubts(certainty: Certainty, *, has_reference: bool) -> list[str]:
    """Return a short line for each region that tuning or the other folds doubt.

    Args:
        certainty: what ``predict`` noted about the case.
        has_reference: the Dice is measured, so that the one to expect is no reason to look.
    """
    return [
        *(
            f"expected Dice of {region} {numbers[EXPECTED]:.2f}"
            for region, numbers in certainty.items()
            if numbers.get(EXPECTED, 1) < LEAST_EXPECTED_DICE and not has_reference
        ),
        *(
            f"folds disagree on {region}: Dice {1 - numbers[DISAGREEMENT]:.2f}"
            for region, numbers in certainty.items()
            if numbers.get(DISAGREEMENT, 0) > MAX_DISAGREEMENT
        ),
    ]


def _enhancing_tumour(labels: NDArray[np.integer], protocol: Protocol) -> list[str]:
    if "ET" not in protocol.regions:
        return []
    voxels = int(np.isin(labels, protocol.regions["ET"].labels).sum())
    if not voxels:
        return ["no enhancing tumour predicted"]
    return [f"only {voxels} voxels of enhancing tumour"] if voxels < MIN_ET_VOXELS else []


def _parts(whole: NDArray[np.bool_], name: str, voxel_volume: float) -> list[str]:
    parts = cc3d.connected_components(whole, connectivity=26)
    n = int((np.bincount(parts[whole])[1:] * voxel_volume >= MIN_PART_VOLUME).sum())
    return [f"{name} in {n} separate parts"] if n > MAX_PARTS else []


@dataclass(frozen=True)
class PredictionNotes:
    """What predict and post-processing noted about the cases of a prediction folder."""

    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Case → its entry in run.json."""
    changes: Mapping[str, list[str]] = field(default_factory=dict)
    """Case → a line for each step of the post-processing that changed something."""
    expected_dice_errors: Mapping[str, float] = field(default_factory=dict)
    """Region → mean error of the Dice to expect; empty where the model that predicted is not there."""

    def of_case(self, case: str) -> "PredictionNotes":
        """Return the notes about one case alone."""
        return PredictionNotes(only(case, self.entries), only(case, self.changes))

    @property
    def absent(self) -> dict[str, list[str]]:
        """Case → sequences without which it was predicted, of the cases that lacked any."""
        return {case: list(map(str, entry[ABSENT])) for case, entry in self.entries.items() if entry.get(ABSENT)}

    def warnings(self, case: str) -> list[str]:
        """Return what ``predict`` said about a case's images."""
        return [str(line) for line in self.entries.get(case, {}).get(WARNINGS, [])]

    def certainty(self, case: str) -> Certainty:
        """Return how sure ``predict`` was of each region of a case; empty where it did not say."""
        noted = self.entries.get(case, {}).get(CERTAINTY)
        if not isinstance(noted, Mapping):
            return {}
        return {region: {name: float(value) for name, value in numbers.items()} for region, numbers in noted.items()}

    def maps(self, case: str, kind: str) -> dict[str, str]:
        """Return region → file of its map of uncertainty of a kind, from the folder of the label maps on."""
        noted = self.entries.get(case, {}).get(MAPS) or []
        files = {region: str(map_file(Path(), case, region, kind)) for region in self.certainty(case)}
        return {region: file for region, file in files.items() if file in noted}

    def mean_probabilities(
        self, case: str, labels: NDArray[np.integer], saved: SavedProbabilities | None
    ) -> dict[str, float]:
        """Return region → mean probability over its voxels, from run.json, else from what is saved; else nothing.

        Args:
            case: its name.
            labels: (Z, Y, X) in nnU-Net's values.
            saved: of this case, on the same grid.
        """
        known = self.entries.get(case, {}).get("mean_probability")
        if isinstance(known, Mapping):
            return {str(name): float(value) for name, value in known.items()}
        return mean_probabilities(labels, saved.probabilities, saved.regions) if saved else {}


def only(name: str, mapping: Mapping[str, Item]) -> dict[str, Item]:
    """Return the one entry of this name, or nothing."""
    return {name: mapping[name]} if name in mapping else {}


def read_prediction_notes(folder: Path) -> PredictionNotes:
    """Read run.json and the table of changes in a prediction folder; a damaged file counts as missing.

    What they say of a label map that has been replaced since is left out.
    """
    runs = read_runs(folder)
    if runs is None:
        return PredictionNotes(changes=_changes_in_table(folder / TABLE))
    entries = {case: entry for case, entry in runs.cases.items() if runs.is_as_written(case)}
    replaced = runs.cases.keys() - entries.keys()
    changes = {case: [_line(asdict(change)) for change in of_case] for case, of_case in changes_of(entries).items()}
    in_table = {case: lines for case, lines in _changes_in_table(folder / TABLE).items() if case not in replaced}
    return PredictionNotes(entries, {**in_table, **_without_empty(changes)}, _expected_dice_errors(runs))


def _expected_dice_errors(runs: Runs) -> dict[str, float]:
    """Return region → mean error of the Dice to expect, where one model predicted all cases and is still the same."""
    folders, models = runs.last.get(_MODEL_FOLDERS), runs.last.get(MODELS)
    if runs.earlier or not isinstance(folders, list) or len(folders) != 1:
        return {}
    try:
        expected = read_expected_dice(Path(str(folders[0])))
        weights = set(models[0][WEIGHTS].values()) if models else set()
    except (InputError, OSError, AttributeError, LookupError, TypeError):
        return {}
    if expected is None or not weights <= set(dict(expected.tuned_on).values()):
        return {}
    return {name: of_region.error for name, of_region in expected.regions.items()}


def _changes_in_table(table: Path) -> dict[str, list[str]]:
    """Return case → lines from the table of changes; run.json says the same about the cases that it lists."""
    changes: dict[str, list[str]] = {}
    if not table.is_file():
        return changes
    try:
        with table.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                changes.setdefault(row["case"], []).append(_line(row))
    except (KeyError, ValueError, csv.Error):
        return {}
    return _without_empty(changes)


def _without_empty(changes: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {case: [line for line in lines if line] for case, lines in changes.items()}


def _line(change: Mapping[str, Any]) -> str:
    """Say what a post-processing step did, from a row of the table or of run.json; "" where it changed nothing."""
    voxels = int(change.get("voxels") or 0)
    if not voxels:
        return ""
    step = str(change.get("step", "")).replace("_", " ")
    return f"{step}: {voxels} voxels of mean probability {float(change.get('mean_probability') or 0):.2f}"
