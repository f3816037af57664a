"""The evaluation as text, for a terminal."""

from collections.abc import Iterator, Mapping

from nnunet_resunet_ds.evaluation.cohort import Evaluation
from nnunet_resunet_ds.evaluation.comparison import Difference
from nnunet_resunet_ds.evaluation.protocols import TITLES
from nnunet_resunet_ds.evaluation.summary import Statistics, summarise

_LESIONS = ("n_tp", "n_fp", "n_fn")
_MILLIMETRES = ("hd95", "lesion_hd95")
_WIDTHS = (22, 8, 10, 22, 8, 8, 0)
_HEADER = ("", "", "mean", "95 % interval of it", "std", "median", "quartiles")


def summary_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield a table of every metric and region over all cases."""
    summary = summarise(evaluation.cases)
    n = len(evaluation.cases)
    yield (
        f"{evaluation.protocol.title}, {n} cases"
        if n > 1
        else f"{evaluation.protocol.title}, {next(iter(evaluation.cases))}"
    )
    yield _row(*(_HEADER if n > 1 else ()))
    for metric, title in TITLES.items():
        if metric in evaluation.protocol.metrics:
            for number, (region, of_metrics) in enumerate(summary.items()):
                yield _row("" if number else title, region, *_cells(metric, of_metrics[metric])[: None if n > 1 else 1])
    if evaluation.protocol.is_lesion_wise:
        for number, (region, of_metrics) in enumerate(summary.items()):
            found, false, missed = (of_metrics[name].mean * of_metrics[name].n for name in _LESIONS)
            yield _row(
                "" if number else "Lesions", region, f"{found:.0f} found, {false:.0f} false, {missed:.0f} missed"
            )


def comparison_lines(name: str, differences: Mapping[str, Mapping[str, Difference]]) -> Iterator[str]:
    """Yield how the predictions differ from another system's, which ``name`` names."""
    yield f"minus {name}, over the cases of both"
    yield _row("", "", "mean", "95 % interval of it", "median", "", "Wilcoxon's p")
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
