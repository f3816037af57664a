"""Learn which Dice to expect, by a ridge regression over cases with a reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from nnunet_resunet_ds.uncertainty.expected_dice import SIGNS, ExpectedDice, ExpectedDiceModel, number_of
from nnunet_resunet_ds.uncertainty.region_certainty import RegionCertainty

LEAST_CASES = 8
"""With a region; from fewer nothing is learnt."""
LEAST_EMPTY_CASES = 5
"""In which a region is predicted empty; from fewer nothing is said of empty ones."""
RIDGE = 1.0
"""Weight of the penalty on slopes, of standardised numbers: few cases teach little, so slopes stay small."""


@dataclass(frozen=True)
class KnownCase:
    """A case with a reference that the segmentation model was not trained on."""

    part: str
    """Fold, or part of it: the error on a part is that of what the others teach."""
    certainty: Mapping[str, RegionCertainty]
    """Region → what its prediction says."""
    dice: Mapping[str, float]
    """Region → what it reaches."""
    volumes: Mapping[str, float]
    """Region → mm³ of the reference."""


def learn_expected_dice(cases: Sequence[KnownCase], tuned_on: tuple[tuple[str, str], ...]) -> ExpectedDiceModel:
    """Learn about each region that at least `LEAST_CASES` predictions have.

    Args:
        cases: at least one.
        tuned_on: fold and identity of the weights that predicted.
    """
    learnt = {}
    for name in cases[0].certainty:
        found = [case for case in cases if case.certainty[name].volume]
        if len(found) >= LEAST_CASES:
            empty = [case.dice[name] for case in cases if not case.certainty[name].volume]
            learnt[name] = _learn(name, found, empty)
    return ExpectedDiceModel(learnt, tuned_on)


def _learn(name: str, cases: Sequence[KnownCase], dice_of_empty: Sequence[float]) -> ExpectedDice:
    """Learn about a region from predictions that have it, and from the Dice of those that do not."""
    numbers = np.array([[number_of(case.certainty[name], number) for number in SIGNS] for case in cases])
    dice = np.array([case.dice[name] for case in cases])
    intercept, slopes = _ridge(numbers, dice)
    return ExpectedDice(
        intercept=intercept,
        slopes=dict(zip(SIGNS, slopes.tolist(), strict=True)),
        n_cases=len(cases),
        error=_error_on_others(numbers, dice, np.array([case.part for case in cases])),
        volume_held=float(np.mean([_holds(case.certainty[name], case.volumes[name]) for case in cases])),
        n_empty=len(dice_of_empty),
        empty_dice=float(np.mean(dice_of_empty)) if len(dice_of_empty) >= LEAST_EMPTY_CASES else None,
    )


def _holds(certainty: RegionCertainty, volume: float) -> bool:
    return certainty.least_volume <= volume <= certainty.largest_volume


def _ridge(numbers: NDArray[np.float64], dice: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Return intercept and slopes (4,) of the ridge regression of Dice (N,) on numbers (N, 4), signs as in `SIGNS`."""
    signs = np.array(list(SIGNS.values()))
    spread = np.maximum(numbers.std(axis=0), 1e-6)
    fitted = Ridge(alpha=RIDGE, positive=True).fit(signs * (numbers - numbers.mean(axis=0)) / spread, dice)
    slopes = signs * fitted.coef_ / spread
    return float(fitted.intercept_ - slopes @ numbers.mean(axis=0)), slopes


def _error_on_others(numbers: NDArray[np.float64], dice: NDArray[np.float64], parts: NDArray[np.str_]) -> float:
    """Return the mean absolute error on each part, of what the other parts teach; of all, where they are one part."""
    errors = []
    for part in np.unique(parts):
        own = parts == part
        taught = ~own if (~own).any() else own
        intercept, slopes = _ridge(numbers[taught], dice[taught])
        errors.append(np.abs(np.clip(intercept + numbers[own] @ slopes, 0, 1) - dice[own]))
    return float(np.concatenate(errors).mean())
