"""Rank the systems of several metrics.json, and write the ranking to JSON, CSV and the terminal."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.base.csv_table import write_csv
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import write_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.evaluation.case_metrics import Metrics
from nnunet_resunet_ds.evaluation.cohort_metrics import REFERENCE
from nnunet_resunet_ds.evaluation.metrics_file import ADDED, MetricsFile, read_metrics
from nnunet_resunet_ds.evaluation.protocols import COUNTS, VOLUMES, Protocol
from nnunet_resunet_ds.evaluation.ranking import Ranking, rank_systems

_NOT_RANKED = (*COUNTS, *VOLUMES, "small_n_tp", "small_n_fn")
"""Numbers of which neither more nor fewer is better by itself."""


def rank_files(paths: Sequence[Path], ranked_by: Sequence[str] | None = None) -> Ranking:
    """Rank systems by what ``evaluate`` wrote about them, over the cases that any of them has.

    Args:
        paths: a ``metrics.json`` for each system, which is called by its path.
        ranked_by: names of metrics; None: those of the protocol.

    Raises:
        InputError: fewer than two files; they are of other protocols, references or rules; or a metric is not there.
    """
    if len({path.resolve() for path in paths}) < max(2, len(paths)):
        msg = f"{', '.join(map(str, paths))}: give two files or more, each of another system and named once"
        raise InputError(msg)
    files = list(map(read_metrics, paths))
    protocol = _common_protocol(files)
    _check_empty_regions(files)
    _check_references(files)
    systems = {str(file.path): file.cases for file in files}
    metrics = _chosen_metrics(protocol, ranked_by)
    _check_is_there(systems, metrics)
    cases = sorted({case for of in systems.values() for case in of})
    _check_cases(systems, cases)
    return rank_systems(systems, cases, list(protocol.regions), metrics)


def _check_cases(systems: Mapping[str, Mapping[str, Metrics]], cases: Sequence[str]) -> None:
    """Refuse systems without a common case; warn of those that lack cases, and are last there.

    Raises:
        InputError: there is nothing to compare.
    """
    if not any(all(case in of for of in systems.values()) for case in cases):
        msg = f"{', '.join(systems)}: no case is in all of them, so there is nothing to rank by"
        raise InputError(msg)
    for system, of in systems.items():
        n = len(cases) - len(of)
        if n:
            LOG.warning("%s: lacks %d of %d cases, and is last in them", system, n, len(cases))


def _common_protocol(files: Sequence[MetricsFile]) -> Protocol:
    first, *others = files
    for other in others:
        if other.protocol.name != first.protocol.name:
            msg = (
                f"{other.path}: is of {other.protocol.name}, and {first.path} of {first.protocol.name}; evaluate all "
                "systems by one protocol"
            )
            raise InputError(msg)
    return first.protocol


def _check_empty_regions(files: Sequence[MetricsFile]) -> None:
    first, *others = files
    for other in others:
        if other.empty_regions != first.empty_regions:
            msg = (
                f"{other.path}: has --empty-regions {other.empty_regions}, and {first.path} has {first.empty_regions}; "
                "evaluate all systems with the same"
            )
            raise InputError(msg)


def _check_references(files: Sequence[MetricsFile]) -> None:
    """Refuse metrics whose references of a case differ; an earlier version noted none, and is believed."""
    known: dict[str, tuple[Path, str]] = {}
    for file in files:
        for case, digests in file.digests.items():
            if REFERENCE not in digests:
                continue
            first, digest = known.setdefault(case, (file.path, digests[REFERENCE]))
            if digests[REFERENCE] != digest:
                msg = (
                    f"{file.path}: the reference of {case} is another than in {first}; evaluate all with the same "
                    "references"
                )
                raise InputError(msg)


def _chosen_metrics(protocol: Protocol, ranked_by: Sequence[str] | None) -> Sequence[str]:
    possible = [name for name in protocol.metrics if name not in _NOT_RANKED]
    for name in ranked_by or ():
        if name not in possible:
            msg = f"metric {name!r} cannot be ranked by in {protocol.title}; choose from {', '.join(possible)}"
            raise InputError(msg)
    return list(dict.fromkeys(ranked_by or protocol.ranked_by))


def _check_is_there(systems: Mapping[str, Mapping[str, Metrics]], metrics: Sequence[str]) -> None:
    """Refuse what an earlier version wrote without a metric that is ranked by: it has a Dice, and not that metric."""
    for metric in (name for name in metrics if name in ADDED):
        dice = "lesion_dice" if metric.startswith("lesion_") else "dice"
        for path, cases in systems.items():
            if any(
                math.isnan(of[metric]) and not math.isnan(of[dice]) for row in cases.values() for of in row.values()
            ):
                msg = f"{path}: has no {metric}, for an earlier version wrote it; evaluate again"
                raise InputError(msg)


def ranking_lines(ranking: Ranking) -> Iterator[str]:
    """Yield a table of systems, the best first, and one of the pairs."""
    yield f"ranked in {len(ranking.cases)} cases by {', '.join(ranking.metrics)}"
    yield "place  mean rank  system"
    for system, mean in ranking.mean_ranks.items():
        yield f"{ranking.places[system]:5}  {mean:9.3f}  {system}"
    yield "p by permutation, one-sided, not corrected for the number of pairs"
    for (better, worse), p_value in ranking.p_values.items():
        yield f"{p_value:7.4f}  {better} before {worse}"


def ranking_content(ranking: Ranking) -> dict[str, Any]:
    """Return the ranking for programs: places, mean ranks, ranks in every case, and p-values, a list of pairs."""
    systems = {
        system: {
            "place": ranking.places[system],
            "mean_rank": mean,
            "case_ranks": dict(zip(ranking.cases, ranking.case_ranks[system].tolist(), strict=True)),
        }
        for system, mean in ranking.mean_ranks.items()
    }
    pairs: list[dict[str, Any]] = [
        {"better": better, "worse": worse, "p_value": p_value} for (better, worse), p_value in ranking.p_values.items()
    ]
    return {"version": __version__, "metrics": ranking.metrics, "systems": systems, "pairs": pairs}


def write_ranking(ranking: Ranking, path: Path) -> None:
    """Write the ranking as JSON."""
    write_json(ranking_content(ranking), path)


def write_ranking_table(ranking: Ranking, path: Path) -> None:
    """Write the ranking as CSV: a row a system, with its place, its mean rank, and its rank in every case."""
    rows = (
        [system, ranking.places[system], mean, *ranking.case_ranks[system].tolist()]
        for system, mean in ranking.mean_ranks.items()
    )
    write_csv(path, ["system", "place", "mean_rank", *ranking.cases], rows)
