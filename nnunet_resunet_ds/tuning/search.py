"""Searching for the settings of the post-processing that score best: one at a time, from a start, again and again."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.tuning.stored_case import LOWEST_THRESHOLD
from postprocessing.config import PostprocessingConfig

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
"""What is searched, in this order: later regions lie inside earlier ones."""
MAX_ROUNDS = 3
MIN_IMPROVEMENT = 1e-4
"""Less is noise; the setting stays."""

Configs = Sequence[PostprocessingConfig]
ScoreAll = Callable[[Configs], NDArray[np.float64]]
"""Settings → their scores, one each."""


def search(score_all: ScoreAll, start: PostprocessingConfig) -> PostprocessingConfig:
    """Return the best settings that changing one number at a time leads to.

    Args:
        score_all: higher is better; asked for the same settings more than once.
        start: where to begin; what is not in `GRID` stays.
    """
    best = start
    for _ in range(MAX_ROUNDS):
        before = best
        for name in GRID:
            best = _best_value(name, best, score_all)
        if best == before:
            break
    return best


def neighbours(config: PostprocessingConfig, name: str) -> list[PostprocessingConfig]:
    """Return the settings that differ in one number, which takes the values of `GRID`; none where it has no effect."""
    size = name.replace("probability", "voxels")
    if size != name and not getattr(config, size):
        return []
    whole = isinstance(getattr(config, name), int)
    values: list[Any] = [int(value) if whole else float(value) for value in GRID[name]]
    return [replace(config, **{name: value}) for value in values]


def _best_value(name: str, current: PostprocessingConfig, score_all: ScoreAll) -> PostprocessingConfig:
    candidates = [current, *neighbours(current, name)]
    scores = score_all(candidates)
    winner = int(np.argmax(scores))
    return candidates[winner] if scores[winner] > scores[0] + MIN_IMPROVEMENT else current
