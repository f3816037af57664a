"""What finished runs have left on disk: scores, times, memory."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nnunet_resunet_ds.ablation.run_folder import PRESETS, RUNS, Run
from nnunet_resunet_ds.ablation.rungs import RUNGS, Rung
from nnunet_resunet_ds.ablation.settings import Settings
from nnunet_resunet_ds.ablation.training import Training
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.run_file import RUN
from nnunet_resunet_ds.evaluation.case import Metrics
from nnunet_resunet_ds.evaluation.metrics_file import read_metrics

_SEED_AND_FOLD = re.compile(r"-seed(\d+)-fold(\d+)")


@dataclass(frozen=True)
class Outcome:
    """Of a rung, with one seed on one fold."""

    run: Run
    cases: dict[str, Metrics]
    """Case → region → metric → value."""
    seconds_per_case: float
    """In the network, the mean over cases."""

    def mean(self, region: str, metric: str) -> float:
        """Return the mean over cases that are a number."""
        return float(np.nanmean([metrics[region][metric] for metrics in self.cases.values()]))


@dataclass(frozen=True)
class Row:
    """A rung, and all that is finished of it."""

    rung: Rung
    outcomes: list[Outcome]


def finished_rows(settings: Settings) -> list[Row]:
    """Return every rung of which something is finished, in the order of the table.

    Raises:
        InputError: metrics that cannot be read.
    """
    rows = [Row(rung, [_outcome(run, rung) for run in _finished_runs(settings, rung)]) for rung in RUNGS.values()]
    return [row for row in rows if row.outcomes]


def _finished_runs(settings: Settings, rung: Rung) -> Iterator[Run]:
    training = Training.of(rung)
    begin = f"{training.trainer}-{training.short_name}"
    for folder in sorted((settings.folder / RUNS).glob(f"{begin}-seed*-fold*")):
        match = _SEED_AND_FOLD.fullmatch(folder.name.removeprefix(begin))
        if match:
            run = Run(settings, training, *map(int, match.groups()))
            if run.is_finished:
                yield run


def _outcome(run: Run, rung: Rung) -> Outcome:
    _, cases = read_metrics(run.metrics(PRESETS[rung.is_postprocessed]))
    predicted = read_json(run.predictions / RUN)["cases"]
    return Outcome(run, cases, float(np.mean([predicted[case]["network_seconds"] for case in cases])))
