"""Show what tuning found: a table of all settings, a picture, and lines for the terminal."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnunet_resunet_ds.base.csv_table import write_csv
from nnunet_resunet_ds.base.files import replacing
from nnunet_resunet_ds.base.text_table import aligned
from nnunet_resunet_ds.tuning.grid import Grid, names_of
from nnunet_resunet_ds.tuning.held_out import Tuning
from nnunet_resunet_ds.tuning.metrics import Metric
from nnunet_resunet_ds.tuning.scores import Scores, mean_of


def write_settings_table(scores: Scores, grid: Grid, path: Path) -> None:
    """Write a row for each of the settings that were scored: what was searched, and the mean score, best first."""
    names = names_of(grid)
    means = {config: float(mean_of(goodness)) for config, goodness in scores.known.items()}
    rows = sorted(means.items(), key=lambda item: -np.nan_to_num(item[1], nan=-np.inf))
    shown = ([*map(config.value, names), f"{scores.metric.shown(mean):.6f}"] for config, mean in rows)
    write_csv(path, [*names, "mean_score"], shown)


def write_picture(scores: Scores, tuning: Tuning, path: Path) -> None:
    """Write a PNG: the mean score over each threshold, the others at their best; and the gain of each part."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_thresholds(left, scores, tuning)
    _draw_gains(right, tuning, scores.metric)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")


def _draw_thresholds(axes: Axes, scores: Scores, tuning: Tuning) -> None:
    best, metric = tuning.best, scores.metric
    for coordinate in tuning.grid:
        (name, *others) = coordinate.names
        setting = best.settings[name]
        if others or setting.step is not None:
            continue
        region = setting.further.name if setting.further else name.upper()
        means = mean_of(scores(coordinate.changed(best, coordinate.values))) * metric.sign
        axes.plot([value for (value,) in coordinate.values], means, marker="o", markersize=3, label=region)
        axes.axvline(best.value(name), linewidth=0.5, color="0.6")
    axes.set(xlabel="threshold, the other settings at their best", ylabel=f"mean {metric.title}")
    axes.legend()


def _draw_gains(axes: Axes, tuning: Tuning, metric: Metric) -> None:
    gains = [part.gain for part in tuning.parts]
    axes.bar([part.name for part in tuning.parts], gains, color="0.7")
    label = f"mean {tuning.gain:+.{metric.digits}f}, spread {tuning.spread:.{metric.digits}f}"
    axes.axhline(tuning.gain, color="C0", label=label)
    axes.axhline(0, color="0.3", linewidth=0.5)
    axes.set(xlabel="fold", ylabel=f"{_gain_title(metric)} with settings tuned on the other folds")
    axes.legend()
    limit = np.nanmax(np.abs([*gains, tuning.spread, 1e-6])) * 1.3
    axes.set_ylim(-limit, limit)


def _gain_title(metric: Metric) -> str:
    return "gain" if metric.sign > 0 else "fall"


def gain_content(tuning: Tuning, metric: Metric) -> dict[str, Any]:
    """Return the same for programs; a gain is positive where the tuned settings are better, by any metric."""
    return {
        "metric": metric.key,
        "folds": [
            {
                "fold": part.name,
                "cases": part.n_cases,
                "before": metric.shown(part.before),
                "tuned_on_the_others": metric.shown(part.tuned),
                "gain": part.gain,
            }
            for part in tuning.parts
        ],
        "gain": tuning.gain,
        "spread": tuning.spread,
        "is_worth_it": tuning.is_worth_it,
        "best": tuning.best.to_mapping(),
        "chosen": tuning.chosen.to_mapping(),
    }


def gain_lines(tuning: Tuning, metric: Metric) -> Iterator[str]:
    """Yield a table of what each part gains on its own cases, and what follows from it."""
    less = "" if metric.sign > 0 else ", where less is better"
    yield f"mean {metric.title} of held-out cases{less}"
    is_paper = tuning.start.tumour_regions
    gain, digits = _gain_title(metric), metric.digits
    header = ("fold", "cases", "paper" if is_paper else "nnU-Net", "tuned on the others", gain)
    rows = [
        (
            part.name,
            f"{part.n_cases}",
            f"{metric.shown(part.before):.{digits}f}",
            f"{metric.shown(part.tuned):.{digits}f}",
            f"{part.gain:+.{digits}f}",
        )
        for part in tuning.parts
    ]
    yield from aligned([header, *rows], numbers_from=1)
    yield f"mean {gain} {tuning.gain:+.{digits}f}, spread {tuning.spread:.{digits}f}"
    unscored = len(tuning.parts) - len(tuning.gains)
    if unscored:
        yield f"without {unscored} of {len(tuning.parts)} rows, in which no case has a score by this metric"
    usual = "the paper's" if is_paper else "nnU-Net's"
    changed = _differences(tuning) or usual
    if tuning.is_worth_it:
        yield f"tuned on all cases: {changed}"
    elif len(tuning.gains) < 2:
        yield f"too few cases have a score to tell a {gain} from chance, so {usual} settings stay"
    else:
        yield f"the {gain} is not larger than its spread, so {usual} settings stay (best on all cases: {changed})"


def _differences(tuning: Tuning) -> str:
    values = {name: (tuning.start.value(name), tuning.best.value(name)) for name in names_of(tuning.grid)}
    return ", ".join(f"{name} {before:g} → {after:g}" for name, (before, after) in values.items() if before != after)
