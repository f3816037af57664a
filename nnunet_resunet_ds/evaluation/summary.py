"""What many cases amount to: mean, spread and how sure the mean is, for each region and metric."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.evaluation.case import Metrics

N_RESAMPLES = 2000
CONFIDENCE = 0.95
_BATCH = 100
"""Resamples at a time, for memory."""


@dataclass(frozen=True)
class Statistics:
    """Of one metric over the cases where it is a number."""

    n: int
    mean: float
    std: float
    """Of a sample, as the challenges report it; not a number for a single case."""
    q1: float
    median: float
    q3: float
    ci_low: float
    """The 95 % interval of the mean, by bootstrap over cases."""
    ci_high: float


def summarise(cases: Mapping[str, Metrics]) -> dict[str, dict[str, Statistics]]:
    """Return region → metric → statistics over cases."""
    first = next(iter(cases.values()))
    return {
        region: {metric: statistics(column(cases, region, metric)) for metric in metrics}
        for region, metrics in first.items()
    }


def column(cases: Mapping[str, Metrics], region: str, metric: str) -> NDArray[np.float64]:
    """Return one metric of every case, (cases,)."""
    return np.array([case[region][metric] for case in cases.values()], np.float64)


def statistics(values: NDArray[np.float64]) -> Statistics:
    """Summarise values (n,), leaving out what is not a number."""
    values = values[~np.isnan(values)]
    if not len(values):
        return Statistics(0, *[math.nan] * 7)
    q1, median, q3 = np.quantile(values, (0.25, 0.5, 0.75))
    std = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    low, high = bootstrap_interval(values)
    return Statistics(len(values), float(values.mean()), std, float(q1), float(median), float(q3), low, high)


def bootstrap_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the percentile interval of the mean over resampled cases, the same each time it is asked for."""
    random = np.random.default_rng(0)
    batches = [random.choice(values, (_BATCH, len(values))).mean(axis=1) for _ in range(N_RESAMPLES // _BATCH)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(batches), (tail, 1 - tail))
    return float(low), float(high)
