"""Write an evaluation to metrics.json and metrics.csv, and read metrics.json back."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.base.case_notes import MADE_WITH
from nnunet_resunet_ds.base.csv_table import write_csv
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json, with_nulls, write_json
from nnunet_resunet_ds.base.setting_checks import check_path_part
from nnunet_resunet_ds.evaluation.case_metrics import Metrics
from nnunet_resunet_ds.evaluation.cohort_metrics import Digests, Evaluation
from nnunet_resunet_ds.evaluation.protocols import Protocol, protocol_named
from nnunet_resunet_ds.evaluation.sequences import Group, summarise_groups
from nnunet_resunet_ds.evaluation.statistics import Statistics, Summary, summarise
from nnunet_resunet_ds.evaluation.unmatched_lesions import UnmatchedLesion, lesions_section, read_lesions_section

_EMPTY_REGIONS = "empty_regions"
ADDED = ("nsd_0.5", "nsd_1.0", "lesion_nsd_0.5", "lesion_nsd_1.0")
"""Metrics that an earlier version did not compute; what it wrote is read with not a number for them."""
_LESIONS = "unmatched_lesions"
_FILES = "files"
"""Entry of metrics.json: case → SHA-256 of its reference and prediction."""
STATISTICS = tuple(field.name for field in fields(Statistics))


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


def write_metrics_table(evaluation: Evaluation, path: Path, groups: Sequence[Group] = ()) -> None:
    """Write ``metrics.csv``: a row a case and region, then a row a statistic and region.

    Args:
        evaluation: the metrics of all cases.
        path: of the file.
        groups: of cases, each with rows for n and mean, such as ``mean, without T2``.
    """
    write_csv(path, ["case", "region", *evaluation.protocol.metrics], _rows(evaluation, groups))


def _rows(evaluation: Evaluation, groups: Sequence[Group]) -> Iterator[list[Any]]:
    """Yield the rows of ``metrics.csv``."""
    protocol = evaluation.protocol
    for case, regions in evaluation.cases.items():
        for region, metrics in regions.items():
            yield [case, region, *(metrics[metric] for metric in protocol.metrics)]
    summary = summarise(evaluation.cases)
    for name in STATISTICS:
        yield from _statistic_rows(name, name, summary, protocol)
    for group, of_group in summarise_groups(groups, evaluation.cases):
        for name in ("n", "mean"):
            yield from _statistic_rows(f"{name}, {group.title}", name, of_group, protocol)


def _statistic_rows(title: str, name: str, summary: Summary, protocol: Protocol) -> Iterator[list[Any]]:
    """Yield a row a region of one of `STATISTICS`."""
    for region, of_metrics in summary.items():
        yield [title, region, *(getattr(of_metrics[metric], name) for metric in protocol.metrics)]


@dataclass(frozen=True)
class MetricsFile:
    """What ``evaluate`` wrote to a ``metrics.json``."""

    path: Path
    protocol: Protocol
    cases: Mapping[str, Metrics]
    """Of each case; what is null in the file is not a number."""
    content: Mapping[str, Any]
    """All of the file."""

    @property
    def empty_regions(self) -> str:
        """Name of the rule for empty regions; "" where it says none."""
        return str(self.content.get(_EMPTY_REGIONS, ""))

    @property
    def digests(self) -> dict[str, Digests]:
        """SHA-256 of the label maps of each case that were evaluated; an earlier version noted none."""
        files = self.content.get(_FILES, {})
        if not isinstance(files, Mapping):
            return {}
        return {str(case): dict(digests) for case, digests in files.items() if isinstance(digests, Mapping)}

    @property
    def weights(self) -> list[str]:
        """Identities of the weights that made the label maps; none where nobody knows."""
        weights = self.content.get(MADE_WITH)
        return list(map(str, weights)) if isinstance(weights, list) else []

    def lesions(self) -> dict[str, list[UnmatchedLesion]]:
        """Return case → its false and missed lesions; an earlier version noted none.

        Raises:
            InputError: ``evaluate`` did not write them.
        """
        try:
            return read_lesions_section(self.content.get(_LESIONS))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            msg = f'{self.path}: "{_LESIONS}" is not what resunet-ds evaluate writes ({error}); evaluate again'
            raise InputError(msg) from error


def read_metrics(path: Path) -> MetricsFile:
    """Read a ``metrics.json``.

    Raises:
        InputError: the file is missing, or ``evaluate`` did not write it.
    """
    content = read_json(path)
    try:
        for case_id in content["cases"]:
            check_path_part(f"{path}: a case id", case_id)
        protocol = protocol_named(content["protocol"])
        cases = {
            case: {region: _read_region(regions[region], protocol) for region in protocol.regions}
            for case, regions in content["cases"].items()
        }
    except InputError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        msg = f"{path}: is not what resunet-ds evaluate writes ({type(error).__name__}: {error}); give its -o file"
        raise InputError(msg) from error
    return MetricsFile(path, protocol, cases, content)


def _read_region(values: Mapping[str, float | None], protocol: Protocol) -> dict[str, float]:
    return {name: _number(values.get(name) if name in ADDED else values[name]) for name in protocol.metrics}


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
