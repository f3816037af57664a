"""Read the scores of finished runs, and compare rungs with the baseline and with the rung below."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.run_file import RUN
from nnunet_resunet_ds.evaluation.case_metrics import Metrics
from nnunet_resunet_ds.evaluation.metrics_file import read_metrics
from nnunet_resunet_ds.evaluation.statistics import Difference, common_cases, differences
from nnunet_resunet_ds.experiments.ablation.rungs import RUNGS, Rung, Training
from nnunet_resunet_ds.experiments.ablation.settings import Settings
from nnunet_resunet_ds.experiments.ablation.training_runs import RUNS, Run, is_finished

METRIC = "dice"
"""What rungs are compared by."""
SIGNIFICANT = 0.05
"""Level of Wilcoxon's test, not corrected for the number of tests."""
_SEED_AND_FOLD = re.compile(r"-seed(\d+)-fold(\d+)")


@dataclass(frozen=True)
class Outcome:
    """What a finished run has left of one rung."""

    run: Run
    cases: dict[str, Metrics]
    """Case → region → metric → value."""
    seconds_per_case: float
    """Seconds in the network, mean over cases."""

    def mean(self, region: str, metric: str) -> float:
        """Return the mean over the cases that have a number."""
        return float(np.nanmean([metrics[region][metric] for metrics in self.cases.values()]))


@dataclass(frozen=True)
class Row:
    """A rung and its finished runs."""

    rung: Rung
    outcomes: list[Outcome]


def finished_rows(settings: Settings) -> list[Row]:
    """Return every rung that has a finished run, in the order of the table.

    Raises:
        InputError: a file of metrics cannot be read.
    """
    rows = [Row(rung, [_outcome(run, rung) for run in _finished_runs(settings, rung)]) for rung in RUNGS.values()]
    return [row for row in rows if row.outcomes]


def _finished_runs(settings: Settings, rung: Rung) -> Iterator[Run]:
    training = Training.of(rung)
    name = f"{training.trainer}-{training.short_name}"
    for folder in sorted((settings.folder / RUNS).glob(f"{name}-seed*-fold*")):
        match = _SEED_AND_FOLD.fullmatch(folder.name.removeprefix(name))
        if match:
            run = Run(settings, training, *map(int, match.groups()))
            if is_finished(run):
                yield run


def _outcome(run: Run, rung: Rung) -> Outcome:
    cases = dict(read_metrics(run.metrics(run.preset_of(rung))).cases)
    predicted = read_json(run.predictions / RUN)["cases"]
    return Outcome(run, cases, float(np.mean([predicted[case]["network_seconds"] for case in cases])))


@dataclass(frozen=True)
class Compared:
    """A rung minus another in one region, over the cases of both, each case the mean of its seeds."""

    rung: str
    other: str
    region: str
    n_seeds: int
    difference: Difference
    spread: float
    """Standard deviation over seeds of the difference of means; not a number for one seed."""

    @property
    def verdict(self) -> str:
        """Say what the difference is, in words."""
        if math.isnan(self.spread):
            return "one seed: its spread is not known"
        if abs(self.difference.mean) <= self.spread:
            return "none: within the spread of seeds"
        if self.difference.p_value >= SIGNIFICANT:
            return "none that the cases show"
        return "higher" if self.difference.mean > 0 else "lower"


def rung_differences(rows: Sequence[Row]) -> list[Compared]:
    """Compare each rung with those of `Rung.compared_with`, on the seeds, folds and cases of both."""
    finished = {row.rung.name: row for row in rows}
    pairs = [(row, finished[name]) for row in rows for name in row.rung.compared_with if name in finished]
    return [compared for row, other in pairs for compared in _compare(row, other)]


def _compare(row: Row, other: Row) -> list[Compared]:
    both = [_by_seed_and_fold(of) for of in (row, other)]
    shared = sorted(both[0].keys() & both[1].keys())
    if not shared:
        return []
    mine, others = ([of[key] for key in shared] for of in both)
    first, second = _mean_of_seeds(mine), _mean_of_seeds(others)
    names = (row.rung.name, other.rung.name)
    found = differences(first, second, common_cases(dict(zip(names, (first, second), strict=True))), [METRIC])
    seeds = sorted({seed for seed, _ in shared})
    return [
        Compared(
            *names,
            region,
            len(seeds),
            by_metric[METRIC],
            _spread([_mean(mine, seed, region) - _mean(others, seed, region) for seed in seeds]),
        )
        for region, by_metric in found.items()
    ]


def _mean(outcomes: Sequence[Outcome], seed: int, region: str) -> float:
    """Return the mean Dice of one seed over its folds."""
    return float(np.mean([outcome.mean(region, METRIC) for outcome in outcomes if outcome.run.seed == seed]))


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _by_seed_and_fold(row: Row) -> dict[tuple[int, int], Outcome]:
    return {(outcome.run.seed, outcome.run.fold): outcome for outcome in row.outcomes}


def _mean_of_seeds(outcomes: Sequence[Outcome]) -> dict[str, dict[str, dict[str, float]]]:
    """Return fold and case → region → the mean Dice of its seeds."""
    values: dict[str, dict[str, list[float]]] = {}
    for outcome in outcomes:
        for case, metrics in outcome.cases.items():
            for region, by_metric in metrics.items():
                key = f"fold {outcome.run.fold}, {case}"
                values.setdefault(key, {}).setdefault(region, []).append(by_metric[METRIC])
    return {
        case: {region: {METRIC: float(np.mean(seeds))} for region, seeds in regions.items()}
        for case, regions in values.items()
    }
