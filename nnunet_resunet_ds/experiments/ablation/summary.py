"""Write the results of an ablation so far: tables as Markdown and CSV, a page and a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from nnunet_resunet_ds.base.files import read_json, replacing, write_text
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON
from nnunet_resunet_ds.evaluation.protocols import protocol_named
from nnunet_resunet_ds.experiments.ablation.outcomes import Row, finished_rows, rung_differences
from nnunet_resunet_ds.experiments.ablation.rungs import BASELINE, DEEP_SUPERVISION, Training, trained_configuration
from nnunet_resunet_ds.experiments.ablation.settings import Settings
from nnunet_resunet_ds.experiments.ablation.tables import (
    Table,
    difference_table,
    markdown,
    record_of,
    run_table,
    summary_table,
    write_numbers,
)
from nnunet_resunet_ds.network.cost import Cost, count_cost
from nnunet_resunet_ds.training.fold.heads_table import read_heads_table

MARKDOWN, CSV, PAGE, FIGURE = "table.md", "table.csv", "report.html", "validation_loss.png"

SHOWN = {BASELINE: "#d55e00", f"+{DEEP_SUPERVISION}": "#0072b2"}
"""Rungs of the figure and their colours (Okabe and Ito)."""
_FINEST = "loss_1"
"""Column of the finest head, which both rungs have; the total loss of one is a mean over three heads."""


@dataclass(frozen=True)
class Written:
    """The tables and files of an ablation."""

    tables: list[Table]
    files: list[Path]


def write_summary(settings: Settings) -> Written:
    """Write the tables, page and figure of all finished runs; write nothing where there is none.

    Raises:
        InputError: a result cannot be read.
    """
    rows = finished_rows(settings)
    if not rows:
        return Written([], [])
    protocol = protocol_named(settings.protocol)
    costs = _costs(rows, settings)
    tables = [
        summary_table(rows, costs, protocol), difference_table(rung_differences(rows)), run_table(rows, protocol)
    ]  # fmt: skip
    tables = [table for table in tables if table.rows]
    figure = loss_figure(rows)
    folder = settings.folder
    title, facts = f"Ablation of {settings.preprocessed.name}", _facts(rows, settings)
    write_numbers(rows, costs, protocol, folder / CSV)
    write_text("\n".join([f"# {title}", "", *facts, "", *map(markdown, tables)]), folder / MARKDOWN)
    write_text(_page(title, facts, tables, figure), folder / PAGE)
    written = [folder / name for name in (MARKDOWN, CSV, PAGE)]
    if figure:
        with replacing(folder / FIGURE) as temporary:
            figure.savefig(temporary, dpi=120)
        written.append(folder / FIGURE)
    return Written(tables, written)


def _costs(rows: Sequence[Row], settings: Settings) -> dict[str, Cost]:
    """Return the cost of the network of each rung; rungs that share a training are counted once."""
    dataset_json = read_json(settings.preprocessed / DATASET_JSON)
    n_channels, n_regions = len(dataset_json["channel_names"]), len(dataset_json["regions_class_order"])
    trainings = {row.rung.name: Training.of(row.rung) for row in rows}
    counted = {
        training: count_cost(trained_configuration(training, settings, seed=0), n_channels, n_regions)
        for training in set(trainings.values())
    }
    return {name: counted[training] for name, training in trainings.items()}


def _facts(rows: Sequence[Row], settings: Settings) -> list[str]:
    """Return lines on the settings, versions and hardware of the runs."""
    records = [record_of(outcome) for row in rows for outcome in row.outcomes]
    configuration = trained_configuration(Training.of(rows[0].rung), settings, seed=0)
    recipe = ", ".join(f"{name} {value}" for name, value in settings.recipe.items()) or "the paper's"
    return [
        f"Patch {configuration['patch_size']}, batch {settings.batch_size}, channels × {settings.width:g}; "
        f"recipe: {recipe}; {'eight flips' if settings.use_mirroring else 'no flips'}.",
        f"Versions: {_different(_versions(record) for record in records)}.",
        f"Hardware: {_different(record.get('machine') for record in records)}.",
    ]


def _versions(record: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in record.get("versions", {}).items())


def _different(lines: Any) -> str:  # noqa: ANN401 (an iterator of text or None)
    return "; ".join(dict.fromkeys(filter(None, lines))) or "not noted"


def _page(title: str, facts: Sequence[str], tables: Sequence[Table], figure: Figure | None) -> str:
    page = files("nnunet_resunet_ds.experiments.ablation").joinpath("assets/page.html.j2")
    style = files("nnunet_resunet_ds.report").joinpath("assets/style.css").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(page.read_text(encoding="utf-8")).render(
        title=title, facts=facts, tables=tables, style=style, figure=as_svg(figure) if figure else ""
    )


def loss_curves(row: Row) -> NDArray[np.float64]:
    """Return the validation loss of the finest head, (runs, epochs); NaN after an early stop."""
    curves = [
        [float(epoch[_FINEST]) for epoch in read_heads_table(outcome.run.fold_folder)] for outcome in row.outcomes
    ]
    table = np.full((len(curves), max(map(len, curves))), np.nan)
    for line, curve in zip(table, curves, strict=True):
        line[: len(curve)] = curve
    return table


def loss_figure(rows: Sequence[Row]) -> Figure | None:
    """Draw the losses of `SHOWN`, one line for each run and one for their mean; None where a rung is missing."""
    shown = [row for row in rows if row.rung.name in SHOWN]
    if len(shown) < len(SHOWN):
        return None
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for row in shown:
        curves, colour = loss_curves(row), SHOWN[row.rung.name]
        epochs = np.arange(1, curves.shape[1] + 1)
        axes.plot(epochs, curves.T, color=colour, linewidth=0.7, alpha=0.5)
        mean = np.nanmean(curves, axis=0)
        axes.plot(epochs, mean, color=colour, linewidth=2, label=f"{row.rung.name}, n = {len(curves)}")
    axes.set(xlabel="epoch", ylabel="validation loss of the finest head")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def as_svg(figure: Figure) -> str:
    """Return the figure as an svg element, always the same for the same figure."""
    stream = StringIO()
    with mpl.rc_context({"svg.hashsalt": "ablation", "svg.fonttype": "none"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
