"""How far flips, folds and models lie apart in what they say of a case."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_resunet_ds.inference.preprocessing import Probabilities


@dataclass(frozen=True)
class Spread:
    """Variances of probabilities, each (R, Z, Y, X) on the voxels of the images."""

    variance: Probabilities
    """Over flips, folds and models."""
    over_folds: Probabilities | None
    """The part of it over folds and models; None where there is one fold alone."""
    n_folds: int | None
    """Of all models; None where these have different numbers of them, so that a fold of one weighs more."""


def mean_and_spread(
    outputs: Sequence[Probabilities], n_regions: int, folds: Sequence[int]
) -> tuple[Probabilities, Spread | None]:
    """Join what models say: their mean (R, Z, Y, X), and how far all lie apart, by the law of total variance.

    Args:
        outputs: of each model: averages (R, Z, Y, X), or with variances what `SlidingWindow.mean_over_folds` returns,
            brought onto the voxels of the images.
        n_regions: R.
        folds: how many each model has.
    """
    means = [output[:n_regions] for output in outputs]
    mean = means[0] if len(means) == 1 else np.mean(means, axis=0)
    if len(outputs[0]) == n_regions:
        return mean, None
    variance = np.mean([output[n_regions : 2 * n_regions] for output in outputs], axis=0)
    if sum(folds) == 1:
        return mean, Spread(variance, None, 1)
    over_folds = np.var(means, axis=0) if len(means) > 1 else np.zeros_like(mean)
    for output in outputs:
        if len(output) > 2 * n_regions:  # of a model of several folds
            over_folds += output[2 * n_regions :] / len(outputs)
    return mean, Spread(variance + over_folds, over_folds, sum(folds) if len(set(folds)) == 1 else None)
