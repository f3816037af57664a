"""Learn which Dice to expect, by a ridge regression over cases with a reference."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from nnunet_resunet_ds.uncertainty.expected_dice import SIGNS, ExpectedDice, ExpectedDiceModel, number_of
from nnunet_resunet_ds.uncertainty.region_certainty import RegionCertainty

LEAST_CASES = 8
"""With a region; from fewer nothing is learnt."""
LEAST_EMPTY_CASES = 5
"""In which a region is predicted empty; from fewer nothing is said of empty ones."""
RIDGE = 10.0
"""Weight of the penalty on slopes, of standardised numbers: few cases teach little, so slopes stay small."""


def learn_expected_dice(
    cases: Sequence[Mapping[str, RegionCertainty]],
    dice: Sequence[Mapping[str, float]],
    parts: Sequence[str],
    tuned_on: tuple[tuple[str, str], ...],
) -> ExpectedDiceModel:
    """Learn from cases with a reference that the segmentation model was not trained on.

    Args:
        cases: of each, region → what its prediction says.
        dice: of each, region → what it reaches.
        parts: of each, the fold or part; the error of a part is that of what the others teach.
        tuned_on: fold and identity of the weights that predicted.
    """
    learnt = {}
    for name in cases[0]:
        certainties = [case[name] for case in cases]
        reached = np.array([case[name] for case in dice])
        expected = _learn(certainties, reached, np.array(parts))
        if expected is not None:
            learnt[name] = expected
    return ExpectedDiceModel(learnt, tuned_on)


def _learn(
    certainties: Sequence[RegionCertainty], dice: NDArray[np.float64], parts: NDArray[np.str_]
) -> ExpectedDice | None:
    found = np.array([certainty.volume > 0 for certainty in certainties])
    if found.sum() < LEAST_CASES:
        return None
    numbers = np.array(
        [[number_of(certainty, name) for name in SIGNS] for certainty in certainties if certainty.volume > 0]
    )
    intercept, slopes = _ridge(numbers, dice[found])
    n_empty = int((~found).sum())
    return ExpectedDice(
        intercept=intercept,
        slopes=dict(zip(SIGNS, slopes.tolist(), strict=True)),
        n_cases=int(found.sum()),
        error=_error_on_others(numbers, dice[found], parts[found]),
        n_empty=n_empty,
        empty_dice=float(dice[~found].mean()) if n_empty >= LEAST_EMPTY_CASES else None,
    )


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
