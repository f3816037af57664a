"""What an ablation amounts to, written from what is finished: Markdown, CSV, a page and a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from nnunet_resunet_ds.ablation.cost import Cost, count_cost
from nnunet_resunet_ds.ablation.figure import as_svg, loss_figure
from nnunet_resunet_ds.ablation.outcomes import Row, finished_rows
from nnunet_resunet_ds.ablation.planned import configuration_of
from nnunet_resunet_ds.ablation.rung_differences import rung_differences
from nnunet_resunet_ds.ablation.settings import Settings
from nnunet_resunet_ds.ablation.tables import (
    Table,
    difference_table,
    markdown,
    run_table,
    summary_table,
    write_csv,
)
from nnunet_resunet_ds.ablation.training import Training
from nnunet_resunet_ds.base.files import read_json, replacing
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON
from nnunet_resunet_ds.evaluation.protocols import protocol_named

MARKDOWN, CSV, PAGE, FIGURE = "table.md", "table.csv", "report.html", "validation_loss.png"


@dataclass(frozen=True)
class Written:
    """What was written."""

    tables: list[Table]
    files: list[Path]


def write_summary(settings: Settings) -> Written:
    """Write the tables, page and figure of all that is finished; nothing where nothing is.

    Raises:
        InputError: results that cannot be read.
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
    write_csv(rows, costs, protocol, folder / CSV)
    _write_text("\n".join([f"# {title}", "", *facts, "", *map(markdown, tables)]), folder / MARKDOWN)
    _write_text(_page(title, facts, tables, figure), folder / PAGE)
    written = [folder / name for name in (MARKDOWN, CSV, PAGE)]
    if figure:
        with replacing(folder / FIGURE) as temporary:
            figure.savefig(temporary, dpi=120)
        written.append(folder / FIGURE)
    return Written(tables, written)


def _costs(rows: Sequence[Row], settings: Settings) -> dict[str, Cost]:
    """Count each network once, though rungs share them."""
    dataset_json = read_json(settings.preprocessed / DATASET_JSON)
    n_channels, n_regions = len(dataset_json["channel_names"]), len(dataset_json["regions_class_order"])
    trainings = {row.rung.name: Training.of(row.rung) for row in rows}
    counted = {
        training: count_cost(configuration_of(training, settings, seed=0), n_channels, n_regions)
        for training in set(trainings.values())
    }
    return {name: counted[training] for name, training in trainings.items()}


def _facts(rows: Sequence[Row], settings: Settings) -> list[str]:
    """Return with what and on what the runs were made, a line each."""
    records = [outcome.run.record for row in rows for outcome in row.outcomes]
    configuration = configuration_of(Training.of(rows[0].rung), settings, seed=0)
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
    template = files("nnunet_resunet_ds.ablation").joinpath("assets", "page.html.j2").read_text(encoding="utf-8")
    style = files("nnunet_resunet_ds.report").joinpath("assets", "style.css").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(
        title=title, facts=facts, tables=tables, style=style, figure=as_svg(figure) if figure else ""
    )


def _write_text(text: str, path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
