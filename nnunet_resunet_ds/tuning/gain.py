"""Tune on cross-validation with a gain that is honest, measured where it was not tuned; and show what was found."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nnunet_resunet_ds.base.files import replacing
from nnunet_resunet_ds.tuning.scores import Scores
from nnunet_resunet_ds.tuning.search import GRID, neighbours, search
from postprocessing.config import PostprocessingConfig

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


_REGIONS = {"wt": "WT", "tc": "TC", "et": "ET"}


def write_table(scores: Scores, path: Path) -> None:
    """Write a row for each of the settings that were scored: what was searched, and the mean score, best first."""
    rows = sorted(scores.known.items(), key=lambda item: -item[1].mean())
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow([*GRID, "mean_score"])
        table.writerows([*(getattr(config, name) for name in GRID), f"{values.mean():.6f}"] for config, values in rows)


def write_picture(scores: Scores, tuning: Tuning, metric: str, path: Path) -> None:
    """Write a PNG: the mean score over each threshold, the others at their best; and the gain of each part."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, region in _REGIONS.items():
        means = scores(neighbours(tuning.best, name)).mean(axis=1)
        left.plot(GRID[name], means, marker="o", markersize=3, label=region)
        left.axvline(getattr(tuning.best, name), linewidth=0.5, color="0.6")
    left.set(xlabel="threshold, the other settings at their best", ylabel=f"mean {metric}")
    left.legend()
    gains = [part.gain for part in tuning.parts]
    right.bar([part.name for part in tuning.parts], gains, color="0.7")
    right.axhline(tuning.gain, color="C0", label=f"mean {tuning.gain:+.4f}, spread {tuning.spread:.4f}")
    right.axhline(0, color="0.3", linewidth=0.5)
    right.set(xlabel="fold", ylabel="gain with settings tuned on the other folds")
    right.legend()
    limit = max(float(np.max(np.abs([*gains, tuning.spread]))), 1e-6) * 1.3
    right.set_ylim(-limit, limit)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
