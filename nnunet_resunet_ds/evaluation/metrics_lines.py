"""Print an evaluation as tables: of all cases, of groups of them, and against another system."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from nnunet_resunet_ds.evaluation.cohort_metrics import Evaluation
from nnunet_resunet_ds.evaluation.penalties import penalty_lines
from nnunet_resunet_ds.evaluation.protocols import COUNTS, TITLES, Matching
from nnunet_resunet_ds.evaluation.sequences import Group, summarise_groups
from nnunet_resunet_ds.evaluation.statistics import Difference, Statistics, summarise

_MILLIMETRES = ("hd95", "lesion_hd95")
_WIDTHS = (22, 8, 10, 27, 8, 8, 0)
_INTERVAL = "95 % interval of the mean"
_HEADER = ("", "", "mean", _INTERVAL, "std", "median", "quartiles")


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


def _cells(metric: str, of: Statistics) -> tuple[str, ...]:
    values = (of.mean, of.ci_low, of.ci_high, of.std, of.median, of.q1, of.q3)
    mean, low, high, std, median, q1, q3 = (f"{value:{_format(metric)}}" for value in values)
    return mean, f"{low} to {high}", std, median, f"{q1} to {q3}"


def _format(metric: str) -> str:
    return ".2f" if metric in _MILLIMETRES else ".4f"


def _row(*cells: str) -> str:
    return "".join(f"{cell:{width}}" if width else cell for cell, width in zip(cells, _WIDTHS, strict=False)).rstrip()
