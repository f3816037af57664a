"""Summarise metrics over cases (mean, spread, interval), and compare two systems (paired differences)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.evaluation.case_metrics import Metrics

Cases = Mapping[str, Metrics]
"""Case → its metrics."""

N_RESAMPLES = 2000
CONFIDENCE = 0.95
_BATCH = 100
"""Resamples at a time, to save memory."""


@dataclass(frozen=True)
class Statistics:
    """Summary of one metric over the cases where it is a number."""

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


Summary = Mapping[str, Mapping[str, Statistics]]
"""Region → metric → statistics over cases."""


def summarise(cases: Cases) -> Summary:
    """Return region → metric → statistics over cases."""
    first = next(iter(cases.values()))
    return {
        region: {metric: statistics(column(cases, region, metric)) for metric in metrics}
        for region, metrics in first.items()
    }


def column(cases: Cases, region: str, metric: str) -> NDArray[np.float64]:
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
    """Return the percentile interval of the mean over resampled cases, the same at every call."""
    random = np.random.default_rng(0)
    batches = [random.choice(values, (_BATCH, len(values))).mean(axis=1) for _ in range(N_RESAMPLES // _BATCH)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(batches), (tail, 1 - tail))
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """Paired difference of one metric between two systems, over the cases of both; positive: the first has more."""

    n: int
    mean: float
    median: float
    ci_low: float
    """The 95 % interval of the mean, by bootstrap over cases."""
    ci_high: float
    p_value: float
    """Of Wilcoxon's signed-rank test, two-sided; 1 where nothing differs."""


def common_cases(systems: Mapping[str, Cases]) -> list[str]:
    """Return the cases that every system has.

    Raises:
        InputError: there is none.
    """
    first, *others = systems.values()
    common = [case for case in first if all(case in other for other in others)]
    if not common:
        msg = f"{', '.join(systems)}: have no evaluated case in common"
        raise InputError(msg)
    return common


def differences(
    first: Cases, second: Cases, cases: Sequence[str], metrics: Sequence[str]
) -> dict[str, dict[str, Difference]]:
    """Return region → metric → paired difference, first minus second.

    Args:
        first: one system's metrics.
        second: the other's.
        cases: to compare on.
        metrics: to compare.
    """
    ones, others = ({case: system[case] for case in cases} for system in (first, second))
    regions = first[cases[0]]
    return {
        region: {
            metric: _difference(column(ones, region, metric) - column(others, region, metric)) for metric in metrics
        }
        for region in regions
    }


def _difference(values: NDArray[np.float64]) -> Difference:
    values = values[~np.isnan(values)]
    if not len(values):
        return Difference(0, *[float("nan")] * 5)
    p_value = float(stats.wilcoxon(values).pvalue) if values.any() else 1.0
    return Difference(len(values), float(values.mean()), float(np.median(values)), *bootstrap_interval(values), p_value)
