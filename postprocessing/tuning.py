"""Tuning the post-processing on cross-validation, with a gain that is honest: measured where it was not tuned."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from postprocessing.config import PostprocessingConfig
from postprocessing.scores import Scores
from postprocessing.search import search

MAX_PARTS = 5
"""Into which the cases are parted where they are all of one fold."""


@dataclass(frozen=True)
class Part:
    """A fold, or a part of the only one, and what settings tuned on the other parts do for it."""

    name: str
    n_cases: int
    paper: float
    """Mean score with the paper's settings."""
    tuned: float
    """Mean score with those tuned on the other parts."""

    @property
    def gain(self) -> float:
        """What tuning gives."""
        return self.tuned - self.paper


@dataclass(frozen=True)
class Tuning:
    """What came of tuning."""

    parts: list[Part]
    best: PostprocessingConfig
    """Of all cases."""
    averaging: str
    tuned_on: tuple[tuple[str, str], ...] = ()
    """Fold and identity of the weights whose predictions these are."""

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
        """The settings to use: tuned, or the paper's where tuning is not worth it."""
        config = self.best if self.is_worth_it else PostprocessingConfig.paper()
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


def tune(
    scores: Scores, parts: Sequence[str], averaging: str, tuned_on: tuple[tuple[str, str], ...] = ()
) -> Tuning:
    """Search on all cases, and for each part on the others.

    Args:
        scores: of the cases.
        parts: the part of each case, at least two different ones.
        averaging: what the probabilities are an average of.
        tuned_on: fold and identity of the weights that they are of.
    """
    paper = PostprocessingConfig.paper()
    names = np.array(parts)
    found = []
    for name in dict.fromkeys(parts):
        held_out = names == name
        best = _search(scores, ~held_out)
        (before,), (after,) = scores([paper])[:, held_out], scores([best])[:, held_out]
        found.append(Part(name, int(held_out.sum()), float(before.mean()), float(after.mean())))
    return Tuning(found, _search(scores, np.ones(len(names), bool)), averaging, tuned_on)


def _search(scores: Scores, cases: NDArray[np.bool_]) -> PostprocessingConfig:
    return search(lambda configs: scores(configs)[:, cases].mean(axis=1), PostprocessingConfig.paper())
