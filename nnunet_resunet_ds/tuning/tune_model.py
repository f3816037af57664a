"""Tune the post-processing of a model on its validation cases; write settings, table and picture into its folder."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON
from nnunet_resunet_ds.base.region_checks import regions_of
from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings
from nnunet_resunet_ds.tuning.cross_validation import (
    predict_validation,
    stored_validation_npz,
    validation_ids,
    weights_tuned_on,
)
from nnunet_resunet_ds.tuning.grid import grid_of
from nnunet_resunet_ds.tuning.held_out import Tuning, Weights, parts_of, tune
from nnunet_resunet_ds.tuning.metrics import METRICS, Metric, chosen_metric
from nnunet_resunet_ds.tuning.outcome import write_picture, write_table
from nnunet_resunet_ds.tuning.scores import Scores, check_above_floor
from postprocessing.config import LOGITS, PROBABILITIES
from postprocessing.model_config import dataset_json_of, default_config, keep_with_model

TABLE, PICTURE = "tuning.csv", "tuning.png"


def tune_model(
    settings: PredictionSettings,
    metric: str = METRICS[0],
    *,
    protocol: str | None = None,
    from_npz: bool = False,
    executor: Executor | None = None,
) -> tuple[Tuning, Metric]:
    """Search the settings that score best on the validation cases of a model, and keep the chosen ones with it.

    The caller lets no other process write into the folder meanwhile: see `only_writer`.

    Args:
        settings: of one model, with the folds to tune on; device, number format and flips count. `TABLE` and `PICTURE`
            of the search are written into its folder, too.
        metric: one of `METRICS`.
        protocol: of a challenge, whose rules and regions count; None: see `chosen_metric`.
        from_npz: take what ``nnUNetv2_train … --npz`` wrote, and predict nothing.
        executor: whose processes predict and score; None is this one.

    Returns:
        What was found, and the metric that it was ranked by.

    Raises:
        InputError: the metric is none of these regions; the model cannot be tuned; its cases are missing or damaged,
            or too few; or the best settings find next to nothing of the tumour.
    """
    (model,) = settings.models
    checkpoints = dict(zip(model.folds, model.checkpoints, strict=True))
    dataset_json = _dataset_json(model.folder)
    ranked_by = chosen_metric(metric, protocol, dataset_json, model.folder / DATASET_JSON)
    settings = replace(settings, postprocessing=default_config(dataset_json))
    ids = validation_ids(model.folder, checkpoints)
    if from_npz:
        files, averaging = stored_validation_npz(model.folder, ids, executor), LOGITS
    else:
        files, averaging = predict_validation(settings, ids, executor), PROBABILITIES
    tuning = _tune(model.folder, dataset_json, files, ranked_by, executor, averaging, weights_tuned_on(checkpoints))
    keep_with_model(tuning.chosen, model.folder)
    return tuning, ranked_by


def _tune(
    folder: Path,
    dataset_json: Mapping[str, Any],
    files: Mapping[str, Sequence[Path]],
    metric: Metric,
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
    with tqdm(
        desc="search", unit="setting", total=(n_parts + 1) * sum(len(coordinate.values) for coordinate in grid)
    ) as bar:
        scores = Scores(cases, metric, regions, bar.update, executor)
        tuning = tune(scores, parts, averaging, tuned_on, start=default_config(dataset_json), grid=grid)
        check_above_floor(cases, tuning.best, regions[0])
        write_picture(scores, tuning, folder / PICTURE)
        bar.total = (
            bar.n
        )  # searches leave out what loses, go more than once over the rest, and meet settings scored before
    write_table(scores, grid, folder / TABLE)
    return tuning


def _dataset_json(folder: Path) -> Mapping[str, Any]:
    """Return the checked dataset.json of a model."""
    content = dataset_json_of(folder)
    if content is None:
        msg = f"{folder / DATASET_JSON}: missing; give the model folder that training wrote, unchanged"
        raise InputError(msg)
    return content
