"""Measure what tuning gains on cases that it was not tuned on: search on the others of each part, then on all."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.tuning.grid import GRID, Grid
from nnunet_resunet_ds.tuning.scores import Scores, mean_of
from nnunet_resunet_ds.tuning.search import search
from postprocessing.config import PRESETS, PostprocessingConfig

MAX_PARTS = 5
"""Number of parts of the cases where all are of one fold."""

WeightsByFold = tuple[tuple[str, str], ...]
"""Fold and identity of weights."""


@dataclass(frozen=True)
class Part:
    """A fold, or a part of the only one, and what settings tuned on the other parts do for it."""

    name: str
    n_cases: int
    before: float
    """Mean goodness with the settings that the search begins with."""
    tuned: float
    """Mean goodness with those tuned on the other parts."""
    settings: PostprocessingConfig
    """Those."""

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
    tuned_on: WeightsByFold = ()
    """Whose predictions these are."""
    flips: bool | None = None
    """Whether these are averaged over flips; None is not known."""

    @property
    def gains(self) -> list[float]:
        """Of each part that has a score: in some, no case has one, as of lesions where there are none."""
        return [part.gain for part in self.parts if not np.isnan(part.gain)]

    @property
    def gain(self) -> float:
        """Mean over parts that have a score; not a number where none has."""
        return float(np.mean(self.gains)) if self.gains else np.nan

    @property
    def spread(self) -> float:
        """Standard deviation over parts that have a score; not a number of fewer than two."""
        return float(np.std(self.gains, ddof=1)) if len(self.gains) > 1 else np.nan

    @property
    def is_worth_it(self) -> bool:
        """Whether the gain is larger than its spread."""
        return self.gain > self.spread

    @property
    def chosen(self) -> PostprocessingConfig:
        """The settings to use: tuned, or those before where tuning is not worth it."""
        config = self.best if self.is_worth_it else self.start
        return replace(config, averaging=self.averaging, flips=self.flips, tuned_on=self.tuned_on)


def parts_of(folds: Sequence[str]) -> list[str]:
    """Return the part of each case: its fold; if there is only one fold, it is split into up to five parts.

    Args:
        folds: name of the fold of each case.
    """
    if len(set(folds)) > 1:
        return list(folds)
    n_parts = min(MAX_PARTS, len(folds))
    return [f"{fold}, part {number % n_parts + 1}" for number, fold in enumerate(folds)]


def tune(
    scores: Scores,
    parts: Sequence[str],
    averaging: str,
    tuned_on: WeightsByFold = (),
    *,
    flips: bool | None = None,
    start: PostprocessingConfig = PRESETS["paper"],
    grid: Grid = GRID,
) -> Tuning:
    """Search on all cases, and for each part on the others.

    Args:
        scores: of the cases.
        parts: the part of each case, at least two different ones.
        averaging: what the probabilities are an average of.
        tuned_on: fold and identity of the weights that they are of.
        flips: whether they are averaged over flips; None is not known.
        start: where the searches begin.
        grid: what they try.
    """
    names = np.array(parts)
    found = []

    def search_on(cases: NDArray[np.bool_], begin: PostprocessingConfig = start) -> PostprocessingConfig:
        return search(lambda configs: mean_of(scores(configs)[:, cases]), begin, grid, scores.metric.least_gain)

    for name in dict.fromkeys(parts):
        held_out = names == name
        best = search_on(~held_out)
        before, after = mean_of(scores([start, best])[:, held_out])
        found.append(Part(name, int(held_out.sum()), float(before), float(after), best))
    all_cases = np.ones(len(names), bool)
    candidates = [search_on(all_cases), *(part.settings for part in found)]
    best = candidates[int(np.nanargmax(mean_of(scores(candidates))))]
    if best != candidates[0]:  # one number at a time, the search from the start has stopped short of these
        best = search_on(all_cases, best)
    return Tuning(start, grid, found, best, averaging, tuned_on, flips)
