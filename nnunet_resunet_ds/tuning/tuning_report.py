"""What a search over settings found, as a table and as a picture."""

import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from nnunet_resunet_ds.base.files import replacing
from nnunet_resunet_ds.tuning.scores import Scores
from nnunet_resunet_ds.tuning.search import GRID, Tuning, neighbours

_REGIONS = {"wt": "WT", "tc": "TC", "et": "ET"}


def write_table(scores: Scores, path: Path) -> None:
    """Write a row for each of the settings that were scored: what was searched, and the mean score, best first."""
    rows = sorted(scores.known.items(), key=lambda item: -item[1].mean())
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow([*GRID, "mean_score"])
        table.writerows([*(getattr(config, name) for name in GRID), f"{values.mean():.6f}"] for config, values in rows)


def write_picture(scores: Scores, tuning: Tuning, metric: str, path: Path) -> None:
    """Write a PNG: the mean score over each threshold, the others at their best; and the gain of each part."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, region in _REGIONS.items():
        means = scores(neighbours(tuning.best, name)).mean(axis=1)
        left.plot(GRID[name], means, marker="o", markersize=3, label=region)
        left.axvline(getattr(tuning.best, name), linewidth=0.5, color="0.6")
    left.set(xlabel="threshold, the other settings at their best", ylabel=f"mean {metric}")
    left.legend()
    gains = [part.gain for part in tuning.parts]
    right.bar([part.name for part in tuning.parts], gains, color="0.7")
    right.axhline(tuning.gain, color="C0", label=f"mean {tuning.gain:+.4f}, spread {tuning.spread:.4f}")
    right.axhline(0, color="0.3", linewidth=0.5)
    right.set(xlabel="fold", ylabel="gain with settings tuned on the other folds")
    right.legend()
    limit = max(float(np.max(np.abs([*gains, tuning.spread]))), 1e-6) * 1.3
    right.set_ylim(-limit, limit)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
