"""Search the post-processing that scores best, and measure its gain on cases that it was not tuned on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.tuning.scores import Configs, Scores
from nnunet_resunet_ds.tuning.stored_case import LOWEST_THRESHOLD
from postprocessing.config import PRESETS, PostprocessingConfig
from postprocessing.model_config import default_config, has_region_inside_wt

THRESHOLDS = tuple(round(LOWEST_THRESHOLD + 0.05 * step, 2) for step in range(12))
"""0.2 to 0.75."""
GRID: dict[str, tuple[float, ...]] = {
    "wt": THRESHOLDS,
    "tc": THRESHOLDS,
    "et": THRESHOLDS,
    "et_component_voxels": (0, 8, 16, 32, 64, 128, 256),
    "et_component_probability": (0.6, 0.7, 0.8, 0.9, 0.95, 1.0),
    "et_total_voxels": (0, 73, 150, 300, 600),
    "et_total_probability": (0.7, 0.8, 0.9, 0.95, 1.0),
    "tc_component_voxels": (0, 16, 64, 256),
    "tc_component_probability": (0.7, 0.9, 1.0),
    "wt_component_voxels": (0, 16, 64, 256, 1024),
    "wt_component_probability": (0.7, 0.9, 1.0),
}
"""The numbers that are searched for WT, TC and ET, by their names in `SETTINGS`, in this order: later regions lie in
earlier ones."""
_STEPS_AROUND_FURTHER_REGIONS = ("wt_component", "tc_component")
"""What the names of their numbers begin with."""
MAX_ROUNDS = 3
MIN_IMPROVEMENT = 1e-4
"""A smaller gain is noise; the number stays."""
MAX_PARTS = 5
"""Number of parts of the cases where all are of one fold."""

Grid = Mapping[str, Sequence[float]]
"""Names of settings → their values to try."""
ScoreAll = Callable[[Configs], NDArray[np.float64]]
"""Settings → their scores, one each."""
Weights = tuple[tuple[str, str], ...]
"""Fold and identity of weights."""


@dataclass(frozen=True)
class Part:
    """A fold, or a part of the only one, and what settings tuned on the other parts do for it."""

    name: str
    n_cases: int
    before: float
    """Mean score with the settings that the search begins with."""
    tuned: float
    """Mean score with those tuned on the other parts."""

    @property
    def gain(self) -> float:
        """What tuning gives."""
        return self.tuned - self.before


@dataclass(frozen=True)
class Tuning:
    """What tuning found."""

    start: PostprocessingConfig
    """Where the search began: the settings of a model that was not tuned."""
    grid: Grid
    """What was searched."""
    parts: list[Part]
    best: PostprocessingConfig
    """Of all cases."""
    averaging: str
    tuned_on: Weights = ()
    """Whose predictions these are."""

    @property
    def gain(self) -> float:
        """Mean over parts."""
        return float(np.mean([part.gain for part in self.parts]))

    @property
    def spread(self) -> float:
        """Standard deviation over parts."""
        return float(np.std([part.gain for part in self.parts], ddof=1))

    @property
    def is_worth_it(self) -> bool:
        """Whether the gain is larger than its spread."""
        return self.gain > self.spread

    @property
    def chosen(self) -> PostprocessingConfig:
        """The settings to use: tuned, or those before where tuning is not worth it."""
        config = self.best if self.is_worth_it else self.start
        return replace(config, averaging=self.averaging, tuned_on=self.tuned_on)


def parts_of(folds: Sequence[str]) -> list[str]:
    """Return the part of each case: its fold; or where all are of one fold, one of up to five parts of it.

    Args:
        folds: name of the fold of each case.
    """
    if len(set(folds)) > 1:
        return list(folds)
    n_parts = min(MAX_PARTS, len(folds))
    return [f"{fold}, part {number % n_parts + 1}" for number, fold in enumerate(folds)]


def grid_of(dataset_json: Mapping[str, Any]) -> Grid:
    """Return what is searched for the regions of a dataset.

    Steps of WT and TC are left out where a further region is part of WT: they would count the tumour without it.

    Args:
        dataset_json: a checked one.
    """
    start = default_config(dataset_json)
    n_further = len(dataset_json["regions_class_order"]) - start.n_tumour_regions
    usual = GRID if start.tumour_regions else {}
    if start.tumour_regions and has_region_inside_wt(dataset_json):
        usual = {name: values for name, values in usual.items() if not name.startswith(_STEPS_AROUND_FURTHER_REGIONS)}
    return {**usual, **{region.setting: THRESHOLDS for region in start.further[:n_further]}}


def tune(
    scores: Scores,
    parts: Sequence[str],
    averaging: str,
    tuned_on: Weights = (),
    *,
    start: PostprocessingConfig = PRESETS["paper"],
    grid: Grid = GRID,
) -> Tuning:
    """Search on all cases, and for each part on the others.

    Args:
        scores: of the cases.
        parts: the part of each case, at least two different ones.
        averaging: what the probabilities are an average of.
        tuned_on: fold and identity of the weights that they are of.
        start: where the searches begin.
        grid: what they try.
    """
    names = np.array(parts)
    found = []

    def search_on(cases: NDArray[np.bool_]) -> PostprocessingConfig:
        return search(lambda configs: scores(configs)[:, cases].mean(axis=1), start, grid)

    for name in dict.fromkeys(parts):
        held_out = names == name
        best = search_on(~held_out)
        (before,), (after,) = scores([start])[:, held_out], scores([best])[:, held_out]
        found.append(Part(name, int(held_out.sum()), float(before.mean()), float(after.mean())))
    return Tuning(start, grid, found, search_on(np.ones(len(names), bool)), averaging, tuned_on)


def search(score_all: ScoreAll, start: PostprocessingConfig, grid: Grid = GRID) -> PostprocessingConfig:
    """Return the best settings that changing one number at a time leads to.

    Args:
        score_all: higher is better; asked for the same settings more than once.
        start: where to begin; what is not in the grid stays.
        grid: what to try.
    """
    best = start
    for _ in range(MAX_ROUNDS):
        before = best
        for name in grid:
            best = _best_value(name, best, score_all, grid)
        if best == before:
            break
    return best


def _best_value(name: str, current: PostprocessingConfig, score_all: ScoreAll, grid: Grid) -> PostprocessingConfig:
    candidates = [current, *neighbours(current, name, grid)]
    scores = score_all(candidates)
    winner = int(np.argmax(scores))
    return candidates[winner] if scores[winner] > scores[0] + MIN_IMPROVEMENT else current


def neighbours(config: PostprocessingConfig, name: str, grid: Grid = GRID) -> list[PostprocessingConfig]:
    """Return the settings that differ in one number, which takes the values of a grid; none where it has no effect."""
    if not config.has_effect(name):
        return []
    as_type = config.settings[name].number.type
    return [config.with_values(**{name: as_type(value)}) for value in grid[name]]
