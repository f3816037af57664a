"""Write the HTML page: choose what it shows, and fill ``page.html.j2`` with ``style.css`` and the scripts."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jinja2 import Environment, FunctionLoader, StrictUndefined

from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.base.case_notes import is_training_case
from nnunet_resunet_ds.base.counted import counted
from nnunet_resunet_ds.base.files import replacing
from nnunet_resunet_ds.evaluation.protocols import PROTOCOLS, TITLES, VOLUMES, Protocol
from nnunet_resunet_ds.evaluation.run_notes import training_cases_line
from nnunet_resunet_ds.report.explanations import explanations
from nnunet_resunet_ds.report.plots import HEIGHT, WIDTH, Plot, agreement, distribution
from nnunet_resunet_ds.report.report_case import ReportCase
from nnunet_resunet_ds.uncertainty.region_certainty import (
    DISAGREEMENT,
    ENTROPY_AROUND,
    ENTROPY_INSIDE,
    EXPECTED,
    VOLUME_LIMITS,
)

# Okabe and Ito's colours, which colour-blind people tell apart, too.
COLOURS = ("#009e73", "#56b4e9", "#f0e442", "#d55e00", "#cc79a7", "#e69f00")
LESION_COUNTS = {"n_tp": "Lesions found", "n_fp": "False lesions", "n_fn": "Lesions missed"}
CERTAINTY_TITLES = {
    EXPECTED: "Expected Dice",
    ENTROPY_INSIDE: "Mean entropy in the region (bits)",
    ENTROPY_AROUND: "Mean entropy around it (bits)",
    DISAGREEMENT: "Disagreement between folds",
    **dict(zip(VOLUME_LIMITS, ("Volume at least (ml)", "Volume at most (ml)"), strict=True)),
}
"""Of the numbers that ``predict`` notes of a region, those that the page shows; see `RegionCertainty`."""
N_SHOWN_AT_FIRST = 3
"""Regions whose contours the viewer shows at first."""
_SCRIPTS = ("table.js", "volume.js", "paint.js", "help.js", "viewer.js", "page.js")


@dataclass(frozen=True)
class Card:
    """One number at the top of the page."""

    title: str
    value: str
    detail: str


def write_page(
    cases: Sequence[ReportCase],
    protocol: Protocol,
    title: str,
    path: Path,
    expected_dice_errors: Mapping[str, float] = MappingProxyType({}),
) -> None:
    """Write the page, atomically.

    Args:
        cases: all cases, the worst first.
        protocol: its regions and metrics are shown.
        title: the title of the page.
        path: the HTML file.
        expected_dice_errors: region → mean error of the Dice to expect, as far as it is known.
    """
    environment = Environment(
        autoescape=True, loader=FunctionLoader(_asset), undefined=StrictUndefined, trim_blocks=True
    )
    template = environment.get_template("page.html.j2")
    content = {
        "title": title,
        "subtitle": f"{_of_what(cases, protocol)}, {date.today()}, nnunet-resunet-ds {__version__}",
        "notice": training_notice(cases),
        "has_hint": len(cases) > 1 and any(case.pictures for case in cases),
        "style": _asset("style.css"),
        "script": "\n".join(map(_asset, _SCRIPTS)),
        "cards": list(cards(cases, protocol)),
        "plots": [plot for plot in plots(cases, protocol) if plot],
        "plot_size": (WIDTH, HEIGHT),
        "colours": COLOURS,
        "data": data_of_page(cases, protocol, expected_dice_errors),
        "pictures": [_script_json(asdict(case.pictures)) if case.pictures else None for case in cases],
        "script_json": _script_json,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.writelines(template.generate(content))


def training_notice(cases: Sequence[ReportCase]) -> str:
    """Say how many of the scored cases the model may have been trained on; "" where none is."""
    scored = [case for case in cases if case.metrics]
    return training_cases_line(sum(is_training_case(case.warnings) for case in scored), len(scored))


def _of_what(cases: Sequence[ReportCase], protocol: Protocol) -> str:
    """Say how many cases there are, and by which rules they are scored or which regions are shown."""
    n = counted(len(cases), "case")
    if protocol.name not in PROTOCOLS:
        return f"{n}, {protocol.title}"
    return f"{n}, {'by the rules' if any(case.metrics for case in cases) else 'regions'} of {protocol.title}"


def cards(cases: Sequence[ReportCase], protocol: Protocol) -> Iterator[Card]:
    """Yield the numbers at the top of the page."""
    flagged = sum(bool(case.flags) for case in cases)
    scored = sum(bool(case.metrics) for case in cases)
    yield Card("Cases", str(len(cases)), f"{scored} with reference" if scored else "no reference")
    for region in list(protocol.regions)[:N_SHOWN_AT_FIRST]:
        if scored:
            dice, hd95 = (_column(cases, region, metric) for metric in ("dice", "hd95"))
            which = "mean; median HD95" if scored > 1 else "HD95"
            yield Card(f"{region} Dice", _shown(_mean(dice), ".3f"), f"{which} {_shown(_median(hd95), '.1f')} mm")
        else:
            volumes = [case.volumes[region] / 1000 for case in cases]
            yield Card(f"{region} volume", f"{_median(volumes):.1f} ml", "median" if len(cases) > 1 else "predicted")
    if scored and "lesion_dice" in protocol.metrics:
        means = [_mean(_column(cases, region, "lesion_dice")) for region in protocol.regions]
        yield Card("Lesion-wise Dice", _shown(_mean(means), ".3f"), "mean over regions")
    yield Card("To look at", str(flagged), "case with a flag" if flagged == 1 else "cases with a flag")


def plots(cases: Sequence[ReportCase], protocol: Protocol) -> Iterator[Plot | None]:
    """Yield the figures; None where a figure has no value. Quartiles of one case alone would be three equal lines."""
    scored = [case for case in cases if case.metrics]
    if not scored:
        if len(cases) < 2:
            return
        volumes = {region: {case.name: case.volumes[region] / 1000 for case in cases} for region in protocol.regions}
        yield distribution("Predicted volume (ml)", volumes, " ml")
        return
    for metric in ("dice", "hd95", "lesion_dice") if len(scored) > 1 else ():
        if metric in protocol.metrics:
            columns = {
                region: {case.name: case.metrics[region][metric] for case in scored} for region in protocol.regions
            }
            yield distribution(TITLES[metric], columns, " mm" if metric == "hd95" else "")
    reference, predicted = VOLUMES
    yield agreement(
        "Volume (ml), prediction over reference",
        {
            region: {case.name: (case.metrics[region][reference], case.metrics[region][predicted]) for case in scored}
            for region in protocol.regions
        },
    )


def data_of_page(
    cases: Sequence[ReportCase], protocol: Protocol, expected_dice_errors: Mapping[str, float] = MappingProxyType({})
) -> dict[str, Any]:
    """Return the data that the scripts read: regions, metrics, and every case without its pictures."""
    has_metrics = any(case.metrics for case in cases)
    titles = {**TITLES, **LESION_COUNTS}
    metrics = {name: title for name, title in titles.items() if name in protocol.metrics} if has_metrics else {}
    known = {name for case in cases for numbers in case.certainty.values() for name in numbers}
    certainty = {name: title for name, title in CERTAINTY_TITLES.items() if name in known}
    shown = metrics | certainty | {"volume": "Predicted volume (ml)"}
    told = explanations(protocol, expected_dice_errors)
    sorted_by = protocol.ranked_by[0] if has_metrics else next(iter(certainty), "volume")
    return {
        "sorted_by": sorted_by,
        "regions": [
            {
                "name": name,
                "labels": list(rule.labels),
                "colour": COLOURS[number % len(COLOURS)],
                "shown": number < N_SHOWN_AT_FIRST,
            }
            for number, (name, rule) in enumerate(protocol.regions.items())
        ],
        "metrics": shown,
        "explanations": {name: told[name] for name in shown if name in told},
        "cases": [_case_data(case) for case in cases],
    }


def _case_data(case: ReportCase) -> dict[str, Any]:
    values = {
        region: {**case.metrics.get(region, {}), **_shown_certainty(case, region), "volume": volume / 1000}
        for region, volume in case.volumes.items()
    }
    return {
        "name": case.name,
        "values": {region: {key: _finite(value) for key, value in row.items()} for region, row in values.items()},
        "flags": case.flags,
        "warnings": case.warnings,
        "changes": case.changes,
        "problem": case.problem,
        "lesions": [asdict(lesion) for lesion in case.lesions],
    }


def _shown_certainty(case: ReportCase, region: str) -> dict[str, float]:
    """Return the numbers of `CERTAINTY_TITLES` of a region, volumes in ml."""
    known = {name: value for name, value in case.certainty.get(region, {}).items() if name in CERTAINTY_TITLES}
    return {name: value / (1000 if name in VOLUME_LIMITS else 1) for name, value in known.items()}


def _column(cases: Sequence[ReportCase], region: str, metric: str) -> list[float]:
    return [case.metrics[region][metric] for case in cases if case.metrics]


def _mean(values: Sequence[float]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan


def _median(values: Sequence[float]) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else math.nan


def _shown(value: float, form: str) -> str:
    return f"{value:{form}}" if math.isfinite(value) else "–"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _script_json(content: Mapping[str, Any]) -> str:
    """Return JSON that is safe inside a script element, for any string in it."""
    return json.dumps(content).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _asset(name: str) -> str:
    return files("nnunet_resunet_ds.report").joinpath("assets", name).read_text(encoding="utf-8")
