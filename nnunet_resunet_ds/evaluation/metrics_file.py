"""Write an evaluation to metrics.json, metrics.csv and the terminal, and read metrics.json back."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import product
from pathlib import Path
from typing import Any

from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.base.case_notes import MADE_WITH
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json, replacing, with_nulls, write_json
from nnunet_resunet_ds.base.setting_checks import check_path_part
from nnunet_resunet_ds.evaluation.case_metrics import Metrics
from nnunet_resunet_ds.evaluation.cohort_metrics import Digests, Evaluation
from nnunet_resunet_ds.evaluation.penalties import penalty_lines
from nnunet_resunet_ds.evaluation.protocols import COUNTS, TITLES, Matching, Protocol, protocol_named
from nnunet_resunet_ds.evaluation.sequences import Group, summarise_groups
from nnunet_resunet_ds.evaluation.statistics import Difference, Statistics, Summary, summarise
from nnunet_resunet_ds.evaluation.unmatched_lesions import UnmatchedLesion, lesions_section, read_lesions_section

_EMPTY_REGIONS = "empty_regions"
ADDED = ("nsd_0.5", "nsd_1.0", "lesion_nsd_0.5", "lesion_nsd_1.0")
"""Metrics that an earlier version did not compute; what it wrote is read with not a number for them."""
_LESIONS = "unmatched_lesions"
_FILES = "files"
"""Entry of metrics.json: case → SHA-256 of its reference and prediction."""
STATISTICS = tuple(field.name for field in fields(Statistics))
_MILLIMETRES = ("hd95", "lesion_hd95")
_WIDTHS = (22, 8, 10, 27, 8, 8, 0)
_INTERVAL = "95 % interval of the mean"
_HEADER = ("", "", "mean", _INTERVAL, "std", "median", "quartiles")


def metrics_content(evaluation: Evaluation, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``metrics.json`` says; what is not a number is still NaN.

    Args:
        evaluation: the metrics of all cases.
        more: further entries, such as a comparison.
    """
    return {
        "protocol": evaluation.protocol.name,
        _EMPTY_REGIONS: evaluation.empty_regions.name,
        "version": __version__,
        "summary": _as_dicts(summarise(evaluation.cases)),
        "cases": evaluation.cases,
        _FILES: evaluation.digests,
        _LESIONS: lesions_section(evaluation.lesions),
        "not_evaluated": evaluation.problems,
        **more,
    }


def write_metrics(content: Mapping[str, Any], path: Path) -> None:
    """Write what `metrics_content` returns; a value that is not a number becomes null."""
    write_json(with_nulls(content), path)


def groups_section(groups: Sequence[Group], evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the entry of ``metrics.json`` about groups of cases by their sequences."""
    return [
        {"title": group.title, "absent": group.absent, "cases": group.cases, "summary": _as_dicts(summary)}
        for group, summary in summarise_groups(groups, evaluation.cases)
    ]


def _as_dicts(summary: Summary) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        region: {metric: asdict(statistics) for metric, statistics in metrics.items()}
        for region, metrics in summary.items()
    }


def read_metrics(path: Path) -> tuple[Protocol, dict[str, Metrics]]:
    """Read the protocol and the metrics of every case from ``metrics.json``; null becomes not a number.

    Raises:
        InputError: the file is missing, or ``evaluate`` did not write it.
    """
    content = read_json(path)
    try:
        for case_id in content["cases"]:
            check_path_part(f"{path}: a case id", case_id)
        protocol = protocol_named(content["protocol"])
        return protocol, {
            case: {region: _read_region(regions[region], protocol) for region in protocol.regions}
            for case, regions in content["cases"].items()
        }
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        msg = f"{path}: is not what resunet-ds evaluate writes ({type(error).__name__}: {error}); give its -o file"
        raise InputError(msg) from error


def _read_region(values: Mapping[str, float | None], protocol: Protocol) -> dict[str, float]:
    return {name: _number(values.get(name) if name in ADDED else values[name]) for name in protocol.metrics}


def read_empty_regions(path: Path) -> str:
    """Return the name of the rule for empty regions by which a ``metrics.json`` was made; "" where it says none."""
    return str(read_json(path).get(_EMPTY_REGIONS, ""))


def read_lesions(path: Path) -> dict[str, list[UnmatchedLesion]]:
    """Return case → its false and missed lesions; an earlier version noted none.

    Raises:
        InputError: ``evaluate`` did not write them.
    """
    try:
        return read_lesions_section(read_json(path).get(_LESIONS))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        msg = f'{path}: "{_LESIONS}" is not what resunet-ds evaluate writes ({error}); evaluate again'
        raise InputError(msg) from error


def read_digests(path: Path) -> dict[str, Digests]:
    """Return case → SHA-256 of the label maps that were evaluated; an earlier version noted none."""
    files = read_json(path).get(_FILES, {})
    if not isinstance(files, Mapping):
        return {}
    return {str(case): dict(digests) for case, digests in files.items() if isinstance(digests, Mapping)}


def read_weights(path: Path) -> list[str]:
    """Return the identities of the weights that made the label maps that were evaluated; none where nobody knows."""
    weights = read_json(path).get(MADE_WITH)
    return list(map(str, weights)) if isinstance(weights, list) else []


def write_table(evaluation: Evaluation, path: Path, groups: Sequence[Group] = ()) -> None:
    """Write ``metrics.csv``: a row a case and region, then a row a statistic and region.

    Args:
        evaluation: the metrics of all cases.
        path: of the file.
        groups: of cases, each with rows for n and mean, such as ``mean, without T2``.
    """
    summary = summarise(evaluation.cases)
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["case", "region", *evaluation.protocol.metrics])
        for case, regions in evaluation.cases.items():
            for region, metrics in regions.items():
                table.writerow([case, region, *(metrics[metric] for metric in evaluation.protocol.metrics)])
        for name in STATISTICS:
            table.writerows(_statistic_rows(name, name, summary, evaluation.protocol))
        for group, of_group in summarise_groups(groups, evaluation.cases):
            for name in ("n", "mean"):
                table.writerows(_statistic_rows(f"{name}, {group.title}", name, of_group, evaluation.protocol))


def _statistic_rows(title: str, name: str, summary: Summary, protocol: Protocol) -> Iterator[list[Any]]:
    """Yield a row a region of one of `STATISTICS`."""
    for region, of_metrics in summary.items():
        yield [title, region, *(getattr(of_metrics[metric], name) for metric in protocol.metrics)]


def summary_lines(evaluation: Evaluation, other_rules: str = "") -> Iterator[str]:
    """Yield a table of every metric and region over all cases, and where a penalty stands in it.

    Args:
        evaluation: the metrics of all cases.
        other_rules: how to be scored by other rules; "" leaves it out.
    """
    summary = summarise(evaluation.cases)
    n = len(evaluation.cases)
    of_what = f"{n} cases" if n > 1 else next(iter(evaluation.cases))
    yield "; ".join(filter(None, (f"scored by the rules of {evaluation.protocol.title}, {of_what}", other_rules)))
    yield _row(*(_HEADER if n > 1 else ()))
    for metric, title in TITLES.items():
        if metric in evaluation.protocol.metrics:
            for number, (region, of_metrics) in enumerate(summary.items()):
                yield _row("" if number else title, region, *_cells(metric, of_metrics[metric])[: None if n > 1 else 1])
    if evaluation.protocol.matching is not Matching.NONE:
        for number, (region, of_metrics) in enumerate(summary.items()):
            found, false, missed = (of_metrics[name].mean * of_metrics[name].n for name in COUNTS)
            yield _row(
                "" if number else "Lesions", region, f"{found:.0f} found, {false:.0f} false, {missed:.0f} missed"
            )
    yield from penalty_lines(evaluation)


def group_lines(groups: Sequence[Group], evaluation: Evaluation) -> Iterator[str]:
    """Yield a table of the means of Dice and of the metrics that the protocol ranks by, a row a region and group."""
    protocol, summaries = evaluation.protocol, summarise_groups(groups, evaluation.cases)
    yield "by the sequences that cases had"
    yield _row("", "", "mean", "cases")
    for metric in dict.fromkeys(("dice", *protocol.ranked_by)):
        for number, (region, (group, summary)) in enumerate(product(protocol.regions, summaries)):
            of = summary[region][metric]
            yield _row("" if number else TITLES[metric], region, f"{of.mean:{_format(metric)}}", str(of.n), group.title)


def comparison_lines(name: str, differences: Mapping[str, Mapping[str, Difference]]) -> Iterator[str]:
    """Yield a table of how the predictions differ from those of the system ``name``."""
    yield f"minus {name}, over the cases of both"
    yield _row("", "", "mean", _INTERVAL, "median", "", "Wilcoxon's p")
    for metric, title in TITLES.items():
        for region, of_metrics in differences.items():
            if metric in of_metrics:
                difference = of_metrics[metric]
                mean, low, high, median = (
                    f"{value:+{_format(metric)}}"
                    for value in (difference.mean, difference.ci_low, difference.ci_high, difference.median)
                )
                p_value = f"{difference.p_value:.3g}, n = {difference.n}"
                yield _row(title, region, mean, f"{low} to {high}", median, "", p_value)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _cells(metric: str, of: Statistics) -> tuple[str, ...]:
    values = (of.mean, of.ci_low, of.ci_high, of.std, of.median, of.q1, of.q3)
    mean, low, high, std, median, q1, q3 = (f"{value:{_format(metric)}}" for value in values)
    return mean, f"{low} to {high}", std, median, f"{q1} to {q3}"


def _format(metric: str) -> str:
    return ".2f" if metric in _MILLIMETRES else ".4f"


def _row(*cells: str) -> str:
    return "".join(f"{cell:{width}}" if width else cell for cell, width in zip(cells, _WIDTHS, strict=False)).rstrip()
