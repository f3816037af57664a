"""Make the tables of an ablation as text, for Markdown and HTML alike, and its numbers as CSV."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_resunet_ds.base.csv_table import write_csv
from nnunet_resunet_ds.base.text_table import MISSING, markdown_rows
from nnunet_resunet_ds.evaluation.protocols import Protocol
from nnunet_resunet_ds.experiments.ablation.outcomes import METRIC, Compared, Outcome, Row
from nnunet_resunet_ds.experiments.ablation.rungs import RUNGS
from nnunet_resunet_ds.network.cost import Cost
from nnunet_resunet_ds.training.fold.fold_record import read_record

_COSTS = ("parameters", "flops", "seconds_per_epoch", "epochs", "seconds_per_case", "peak_memory_mib")
"""Columns of the CSV."""


@dataclass(frozen=True)
class Table:
    """One table, its title, and a note on what its numbers are."""

    title: str
    note: str
    header: list[str]
    rows: list[list[str]]


def summary_table(rows: Sequence[Row], costs: Mapping[str, Cost], protocol: Protocol) -> Table:
    """Return the table of rungs: Dice of each region, and costs."""
    header = ["rung", *protocol.regions, "runs", "parameters, M", "GFLOP a patch", "s an epoch", "s a case", "peak MiB"]
    finished = {row.rung.name for row in rows}
    missing = [name for name in RUNGS if name not in finished]
    note = (
        "Dice, mean ± standard deviation over runs (seeds and folds) of the mean over cases. Seconds a case are the "
        "network's; memory is the GPU's in training, or without one that of the process."
    )
    if missing:
        note += f" Not run: {', '.join(missing)}."
    return Table("Rungs", note, header, [_summary(row, costs[row.rung.name], protocol) for row in rows])


def _summary(row: Row, cost: Cost, protocol: Protocol) -> list[str]:
    records = [record_of(outcome) for outcome in row.outcomes]
    return [
        row.rung.name,
        *(_mean_and_spread([outcome.mean(region, METRIC) for outcome in row.outcomes]) for region in protocol.regions),
        str(len(row.outcomes)),
        f"{cost.parameters / 1e6:.3g}",
        f"{cost.flops / 1e9:.3g}",
        _mean([record.get("seconds_per_epoch") for record in records]),
        _mean([outcome.seconds_per_case for outcome in row.outcomes]),
        _mean([peak_memory(outcome) for outcome in row.outcomes], ".0f"),
    ]


def difference_table(compared: Sequence[Compared]) -> Table:
    """Return the table of differences from the baseline and from the rung below, in each region."""
    note = (
        "Dice of a rung minus that of another, paired by case, each case the mean of its seeds; 95 % interval by "
        "bootstrap over cases; Wilcoxon's signed-rank test, two-sided, not corrected for the number of tests. Spread: "
        "the standard deviation of the difference over seeds; what is not larger than it is called none."
    )
    header = ["rung", "minus", "region", "difference", "95 % interval", "p", "cases", "spread", "in words"]
    return Table("Differences", note, header, [_difference(of) for of in compared])


def _difference(of: Compared) -> list[str]:
    difference = of.difference
    return [
        of.rung,
        of.other,
        of.region,
        f"{difference.mean:+.4f}",
        f"{difference.ci_low:+.4f} to {difference.ci_high:+.4f}",
        f"{difference.p_value:.2g}",
        str(difference.n),
        MISSING if np.isnan(of.spread) else f"{of.spread:.4f}",
        of.verdict,
    ]


def run_table(rows: Sequence[Row], protocol: Protocol) -> Table:
    """Return the table of all runs: every fold and seed of every rung."""
    header = ["rung", "fold", "seed", *protocol.regions, "cases", "epochs"]
    body = [
        [
            row.rung.name,
            str(outcome.run.fold),
            str(outcome.run.seed),
            *(f"{outcome.mean(region, METRIC):.4f}" for region in protocol.regions),
            str(len(outcome.cases)),
            str(record_of(outcome).get("epochs", MISSING)),
        ]
        for row in rows
        for outcome in row.outcomes
    ]
    return Table("Folds and seeds", "Dice, mean over the cases that the fold is validated on.", header, body)


def markdown(table: Table) -> str:
    """Return a table as Markdown."""
    return "\n".join([f"## {table.title}", "", table.note, "", *markdown_rows(table.header, table.rows), ""])


def write_numbers(rows: Sequence[Row], costs: Mapping[str, Cost], protocol: Protocol, path: Path) -> None:
    """Write one line for each rung, seed, fold and region, with the mean of every metric."""
    header = ["rung", "seed", "fold", "region", *protocol.metrics, *_COSTS]
    write_csv(path, header, _lines(rows, costs, protocol))


def _lines(rows: Sequence[Row], costs: Mapping[str, Cost], protocol: Protocol) -> Iterator[list[object]]:
    for row in rows:
        for outcome in row.outcomes:
            cells = list(_costs(outcome, costs[row.rung.name]))
            for region in protocol.regions:
                means = [outcome.mean(region, metric) for metric in protocol.metrics]
                yield [row.rung.name, outcome.run.seed, outcome.run.fold, region, *means, *cells]


def _costs(outcome: Outcome, cost: Cost) -> Iterable[object]:
    record = record_of(outcome)
    yield from (cost.parameters, cost.flops, record.get("seconds_per_epoch"), record.get("epochs"))
    yield from (outcome.seconds_per_case, peak_memory(outcome))


def record_of(outcome: Outcome) -> dict[str, Any]:
    """Return the versions, times and memory that the trainer has noted."""
    return read_record(outcome.run.fold_folder)


def peak_memory(outcome: Outcome) -> float | None:
    """Return the peak memory of the training in MiB: of the GPU, or of the process where there was none."""
    memory = record_of(outcome).get("peak_memory_mib", {})
    value: float | None = memory.get("gpu") or memory.get("process")
    return value


def _mean_and_spread(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.4f}"
    return f"{mean} ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else mean


def _mean(values: Sequence[float | None], form: str = ".3g") -> str:
    known = [value for value in values if value is not None]
    return f"{np.mean(known):{form}}" if known else MISSING
