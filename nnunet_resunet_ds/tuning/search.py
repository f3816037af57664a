"""Search the post-processing that scores best, by changing one number at a time for as long as that helps."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.tuning.grid import GRID, Coordinate, Grid, Values
from nnunet_resunet_ds.tuning.scores import Configs
from postprocessing.config import PostprocessingConfig

MAX_ROUNDS = 3

ScoreAll = Callable[[Configs], NDArray[np.float64]]
"""Settings → their goodness, one each."""


def search(
    score_all: ScoreAll, start: PostprocessingConfig, grid: Grid = GRID, least_gain: float = 1e-4
) -> PostprocessingConfig:
    """Return the best settings that changing one number, or pair of numbers, at a time leads to.

    A step that did not help in a round is not tried in the next one.

    Args:
        score_all: higher is better, and what is not a number is the worst; asked for the same settings more than once.
        start: where to begin; what is not in the grid stays.
        grid: what to try.
        least_gain: a smaller gain is noise; the number stays.
    """
    best = start
    for number in range(MAX_ROUNDS):
        before = best
        helpful = []
        for coordinate in grid:
            found = _best_of(coordinate, best, score_all, least_gain, by_rungs=not number)
            if coordinate.is_sweep or found != best:
                helpful.append(coordinate)
            best = found
        if best == before:
            break
        grid = tuple(helpful)
    return best


def _best_of(
    coordinate: Coordinate, current: PostprocessingConfig, score_all: ScoreAll, least_gain: float, *, by_rungs: bool
) -> PostprocessingConfig:
    """Return the settings with the best values of a coordinate; those at present where none gains enough.

    Args:
        coordinate: what to change.
        current: the settings at present.
        score_all: see `search`.
        least_gain: see `search`.
        by_rungs: stop at the first rung that loses.
    """
    best, best_score = current, _numbers(score_all([current]))[0]
    for rung in coordinate.rungs if by_rungs else (_with_off(coordinate, current),):
        candidates = coordinate.changed(current, rung)
        if not candidates:
            break
        scores = _numbers(score_all(candidates))
        winner = int(np.argmax(scores))
        if scores[winner] > best_score + least_gain:
            best, best_score = candidates[winner], scores[winner]
        elif scores[winner] < best_score - least_gain:
            break
    return best


def _with_off(coordinate: Coordinate, current: PostprocessingConfig) -> tuple[Values, ...]:
    """Return all values, and those that switch a ladder off again."""
    if coordinate.is_sweep:
        return coordinate.values
    return ((0.0,) * len(coordinate.names), *coordinate.values)


def _numbers(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isnan(scores), -np.inf, scores)
