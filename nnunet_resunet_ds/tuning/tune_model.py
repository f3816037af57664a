"""Tune the post-processing of a model on its validation cases; write settings, table and picture into its folder."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tqdm import tqdm

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import replacing
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON
from nnunet_resunet_ds.base.region_checks import regions_of
from nnunet_resunet_ds.base.text_table import aligned
from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings
from nnunet_resunet_ds.tuning.cross_validation import (
    predict_validation,
    stored_validation_npz,
    validation_ids,
    weights_tuned_on,
)
from nnunet_resunet_ds.tuning.scores import Scores, check_above_floor
from nnunet_resunet_ds.tuning.search import Grid, Tuning, Weights, grid_of, neighbours, parts_of, tune
from postprocessing.config import LOGITS, PROBABILITIES
from postprocessing.model_config import dataset_json_of, default_config, keep_with_model

TABLE, PICTURE = "tuning.csv", "tuning.png"


def tune_model(
    settings: PredictionSettings, metric: str, *, from_npz: bool = False, executor: Executor | None = None
) -> Tuning:
    """Search the settings that score best on the validation cases of a model, and keep the chosen ones with it.

    The caller lets no other process write into the folder meanwhile: see `only_writer`.

    Args:
        settings: of one model, with the folds to tune on; device, number format and flips count. `TABLE` and `PICTURE`
            of the search are written into its folder, too.
        metric: ``dice`` or ``lesion-dice``.
        from_npz: take what ``nnUNetv2_train … --npz`` wrote, and predict nothing.
        executor: whose processes predict and score; None is this one.

    Raises:
        InputError: the model cannot be tuned, its cases are missing or damaged, or too few, or the best settings find
            next to nothing of the tumour.
    """
    (model,) = settings.models
    checkpoints = dict(zip(model.folds, model.checkpoints, strict=True))
    dataset_json = checked_dataset_json(model.folder)
    settings = replace(settings, postprocessing=default_config(dataset_json))
    ids = validation_ids(model.folder, checkpoints)
    if from_npz:
        files, averaging = stored_validation_npz(model.folder, ids, executor), LOGITS
    else:
        files, averaging = predict_validation(settings, ids, executor), PROBABILITIES
    tuning = _tune(model.folder, dataset_json, files, metric, executor, averaging, weights_tuned_on(checkpoints))
    keep_with_model(tuning.chosen, model.folder)
    return tuning


def _tune(
    folder: Path,
    dataset_json: Mapping[str, Any],
    files: Mapping[str, Sequence[Path]],
    metric: str,
    executor: Executor | None,
    averaging: str,
    tuned_on: Weights,
) -> Tuning:
    """Search on the stored cases of each fold, and write table and picture."""
    cases = [file for of_fold in files.values() for file in of_fold]
    parts = parts_of([fold for fold, of_fold in files.items() for _ in of_fold])
    n_parts = len(set(parts))
    if n_parts < 2:
        msg = f"{folder}: one validation case is not enough to tune on; train more folds"
        raise InputError(msg)
    regions, grid = regions_of(dataset_json), grid_of(dataset_json)
    with tqdm(desc="search", unit="setting", total=(n_parts + 1) * sum(map(len, grid.values()))) as bar:
        scores = Scores(cases, metric, regions, bar.update, executor)
        tuning = tune(scores, parts, averaging, tuned_on, start=default_config(dataset_json), grid=grid)
        check_above_floor(cases, tuning.best, regions[0])
        write_picture(scores, tuning, metric, folder / PICTURE)
        bar.total = bar.n  # searches go more than once over the numbers, but meet settings scored before
    write_table(scores, grid, folder / TABLE)
    return tuning


def checked_dataset_json(folder: Path) -> Mapping[str, Any]:
    """Return the checked dataset.json of a model.

    Raises:
        InputError: it is missing, or its labels are no regions.
    """
    content = dataset_json_of(folder)
    if content is None:
        msg = f"{folder / DATASET_JSON}: missing; give the model folder that training wrote, unchanged"
        raise InputError(msg)
    return content


def write_table(scores: Scores, grid: Grid, path: Path) -> None:
    """Write a row for each of the settings that were scored: what was searched, and the mean score, best first."""
    rows = sorted(scores.known.items(), key=lambda item: -item[1].mean())
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow([*grid, "mean_score"])
        table.writerows([*map(config.value, grid), f"{values.mean():.6f}"] for config, values in rows)


def write_picture(scores: Scores, tuning: Tuning, metric: str, path: Path) -> None:
    """Write a PNG: the mean score over each threshold, the others at their best; and the gain of each part."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_thresholds(left, scores, tuning, metric)
    _draw_gains(right, tuning)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")


def _draw_thresholds(axes: Axes, scores: Scores, tuning: Tuning, metric: str) -> None:
    best, grid = tuning.best, tuning.grid
    for name, setting in best.settings.items():
        if name not in grid or setting.step is not None:
            continue
        region = setting.further.name if setting.further else name.upper()
        means = scores(neighbours(best, name, grid)).mean(axis=1)
        axes.plot(grid[name], means, marker="o", markersize=3, label=region)
        axes.axvline(best.value(name), linewidth=0.5, color="0.6")
    axes.set(xlabel="threshold, the other settings at their best", ylabel=f"mean {metric}")
    axes.legend()


def _draw_gains(axes: Axes, tuning: Tuning) -> None:
    gains = [part.gain for part in tuning.parts]
    axes.bar([part.name for part in tuning.parts], gains, color="0.7")
    axes.axhline(tuning.gain, color="C0", label=f"mean {tuning.gain:+.4f}, spread {tuning.spread:.4f}")
    axes.axhline(0, color="0.3", linewidth=0.5)
    axes.set(xlabel="fold", ylabel="gain with settings tuned on the other folds")
    axes.legend()
    limit = max(float(np.max(np.abs([*gains, tuning.spread]))), 1e-6) * 1.3
    axes.set_ylim(-limit, limit)


def gain_lines(tuning: Tuning, metric: str) -> Iterator[str]:
    """Yield a table of what each part gains on its own cases, and what follows from it."""
    yield f"mean {metric} of held-out cases"
    is_paper = tuning.start.tumour_regions
    header = ("fold", "cases", "paper" if is_paper else "nnU-Net", "tuned on the others", "gain")
    rows = [
        (part.name, f"{part.n_cases}", f"{part.before:.4f}", f"{part.tuned:.4f}", f"{part.gain:+.4f}")
        for part in tuning.parts
    ]
    yield from aligned([header, *rows], numbers_from=1)
    yield f"mean gain {tuning.gain:+.4f}, spread {tuning.spread:.4f}"
    usual = "the paper's" if is_paper else "nnU-Net's"
    changed = _differences(tuning) or usual
    if tuning.is_worth_it:
        yield f"tuned on all cases: {changed}"
    else:
        yield f"the gain is not larger than its spread, so {usual} settings stay (best on all cases: {changed})"


def _differences(tuning: Tuning) -> str:
    values = {name: (tuning.start.value(name), tuning.best.value(name)) for name in tuning.grid}
    return ", ".join(f"{name} {before:g} → {after:g}" for name, (before, after) in values.items() if before != after)
