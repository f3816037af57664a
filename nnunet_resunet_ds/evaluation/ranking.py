"""Rank systems as the BraTS challenges do, in each case, region and metric, and test by permutation if they differ.

A system's ranks within a case are averaged, and so are the cases: the smallest mean rank is the best (Baid et al. 2021,
"The RSNA-ASNR-MICCAI BraTS 2021 Benchmark", where the mean rank of a case is called its cumulative rank).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from nnunet_resunet_ds.evaluation.protocols import SMALLER_IS_BETTER
from nnunet_resunet_ds.evaluation.statistics import Cases

N_PERMUTATIONS = 100_000
"""As in BraTS; where all exchanges are fewer, all of them."""
MAX_EXACT_CASES = 16
"""So many cases have 2¹⁶ = 65 536 exchanges."""
_BATCH = 4096
"""Exchanges at a time, to save memory."""
_ROUNDING = 1e-9
"""Differences of mean ranks that are closer than this are equal."""
_OF_LESIONS = ("lesion_", "small_")


@dataclass(frozen=True)
class Ranking:
    """The ranks of some systems, over cases."""

    cases: tuple[str, ...]
    metrics: tuple[str, ...]
    case_ranks: Mapping[str, NDArray[np.float64]]
    """System → its mean rank in each case, (cases,)."""
    mean_ranks: Mapping[str, float]
    """System → mean over cases, the best first; 1 is the best there can be."""
    places: Mapping[str, int]
    """System → its place; systems of one mean rank share it."""
    p_values: Mapping[tuple[str, str], float]
    """Better system and worse one → how likely chance makes a difference of their mean ranks at least as large."""


def rank_systems(
    systems: Mapping[str, Cases], cases: Sequence[str], regions: Sequence[str], metrics: Sequence[str]
) -> Ranking:
    """Rank systems over cases, and test each pair of them.

    Args:
        systems: name → the metrics of its cases.
        cases: to rank in; a system that lacks one is ranked last there.
        regions: to rank in.
        metrics: to rank by.
    """
    per_case = ranks(systems, cases, regions, metrics).mean(axis=2)
    means = per_case.mean(axis=1)
    names, order = list(systems), np.argsort(means, kind="stable").tolist()
    places = stats.rankdata(np.round(means, 9), method="min").astype(int)
    return Ranking(
        tuple(cases),
        tuple(metrics),
        {names[number]: per_case[number] for number in order},
        {names[number]: float(means[number]) for number in order},
        {names[number]: int(places[number]) for number in order},
        p_values({names[number]: per_case[number] for number in order}),
    )


def mean_ranks(systems: Mapping[str, Cases], cases: Sequence[str], metrics: Sequence[str]) -> dict[str, float]:
    """Return each system's mean rank over cases, regions and metrics: 1 is the best there can be."""
    regions = list(next(iter(systems.values()))[cases[0]])
    means = ranks(systems, cases, regions, metrics).mean(axis=(1, 2))
    return dict(zip(systems, means.tolist(), strict=True))


def ranks(
    systems: Mapping[str, Cases], cases: Sequence[str], regions: Sequence[str], metrics: Sequence[str]
) -> NDArray[np.float64]:
    """Rank the systems in every case, region and metric: (systems, cases, regions × metrics), from 1, the best.

    Systems that are equal share the mean of their ranks. What `badness` says of missing cases and of values that are
    not numbers holds.
    """
    columns = [
        stats.rankdata([[badness(of, case, region, metric) for case in cases] for of in systems.values()], axis=0)
        for region in regions
        for metric in metrics
    ]
    return np.stack(columns, axis=2)


def badness(of: Cases, case: str, region: str, metric: str) -> float:
    """Return a number that is the larger the worse the system is.

    A missing case is the worst. A value is not a number where there is nothing to find and nothing is predicted, which
    is the best; or, with ``--empty-regions nan``, where the reference or the prediction alone is empty, which is the
    worst.
    """
    if case not in of:
        return np.inf
    values = of[case][region]
    if np.isnan(values[metric]):
        is_right = metric.startswith(_OF_LESIONS) or np.isnan(values["dice"])
        return -np.inf if is_right else np.inf
    return values[metric] if metric in SMALLER_IS_BETTER else -values[metric]


def p_values(case_ranks: Mapping[str, NDArray[np.float64]]) -> dict[tuple[str, str], float]:
    """Test each pair of systems by permutation, one-sided and not corrected for the number of pairs.

    If two systems were alike, their ranks in a case could be exchanged. So the ranks of a pair are exchanged in some of
    the cases, at random, `N_PERMUTATIONS` times; for `MAX_EXACT_CASES` or fewer, in every choice of cases. The p-value
    is the part of these exchanges, with the one that leaves all as it is, that make a difference at least as large.

    Args:
        case_ranks: system → (cases,).

    Returns:
        Better system and worse one → p-value, from nearly 0 to 1. A pair that is equal is there once.
    """
    pairs = [
        (better, worse) for better, worse in permutations(case_ranks, 2) if _comes_before(case_ranks, better, worse)
    ]
    if not pairs:
        return {}
    differences = np.stack([case_ranks[worse] - case_ranks[better] for better, worse in pairs], axis=1)
    parts = _exceeding(differences)
    return dict(zip(pairs, parts.tolist(), strict=True))


def _comes_before(case_ranks: Mapping[str, NDArray[np.float64]], one: str, other: str) -> bool:
    """Tell whether a system has the smaller sum of ranks, or of equal ones is named first."""
    difference = float(case_ranks[other].sum() - case_ranks[one].sum())
    names = list(case_ranks)
    return difference > _ROUNDING or (abs(difference) <= _ROUNDING and names.index(one) < names.index(other))


def _exceeding(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each pair the part of exchanges whose sum is at least that of the data; (cases, pairs)."""
    observed = differences.sum(axis=0) - _ROUNDING
    n_cases = len(differences)
    is_exact = n_cases <= MAX_EXACT_CASES
    n = 2**n_cases if is_exact else N_PERMUTATIONS
    random = np.random.default_rng(0)
    count = np.zeros(differences.shape[1], np.int64)
    for start in range(0, n, _BATCH):
        size = min(_BATCH, n - start)
        if is_exact:
            is_exchanged = (np.arange(start, start + size)[:, None] >> np.arange(n_cases)) & 1
        else:
            is_exchanged = random.integers(0, 2, (size, n_cases))
        count += ((1 - 2 * is_exchanged) @ differences >= observed).sum(axis=0)
    # Drawn at random, the exchanges rarely hold the one that leaves all as it is: it is counted in addition.
    return count / n if is_exact else (count + 1) / (n + 1)
