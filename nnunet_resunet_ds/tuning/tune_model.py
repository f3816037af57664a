"""Tune the post-processing of a model on its validation cases; write settings, table and picture into its folder."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nnunet_resunet_ds.base.dataset_json import checked_dataset_json, regions_of
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON
from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings
from nnunet_resunet_ds.tuning.cross_validation import predict_validation
from nnunet_resunet_ds.tuning.grid import grid_of
from nnunet_resunet_ds.tuning.held_out import Tuning, WeightsByFold, parts_of, tune
from nnunet_resunet_ds.tuning.learn_from_stored import keep_expected_dice, learn_from_stored
from nnunet_resunet_ds.tuning.metrics import METRICS, Metric, chosen_metric
from nnunet_resunet_ds.tuning.outcome import write_picture, write_settings_table
from nnunet_resunet_ds.tuning.scores import Scores, check_above_floor
from nnunet_resunet_ds.tuning.validation_cases import validation_ids, weights_tuned_on
from nnunet_resunet_ds.tuning.validation_npz import stored_validation_npz
from nnunet_resunet_ds.uncertainty.expected_dice import ExpectedDiceModel
from postprocessing.config import LOGITS, PROBABILITIES
from postprocessing.model_config import default_config, keep_with_model

TABLE, PICTURE = "tuning.csv", "tuning.png"


@dataclass(frozen=True)
class Tuned:
    """What came of tuning a model."""

    tuning: Tuning
    metric: Metric
    """That the settings were ranked by."""
    expected_dice: ExpectedDiceModel
    """What the same cases teach of the Dice to expect."""


def tune_model(
    settings: PredictionSettings,
    metric: str = METRICS[0],
    *,
    protocol: str | None = None,
    from_npz: bool = False,
    executor: Executor | None = None,
) -> Tuned:
    """Search the settings that score best on the validation cases of a model, and keep the chosen ones with it.

    From the same cases it learns which Dice to expect under these settings, and keeps that, too.

    The caller lets no other process write into the folder meanwhile: see `only_writer`.

    Args:
        settings: of one model, with the folds to tune on; device, number format and flips count. `TABLE` and `PICTURE`
            of the search are written into its folder, too.
        metric: one of `METRICS`.
        protocol: of a challenge, whose rules and regions count; None: see `chosen_metric`.
        from_npz: take what ``nnUNetv2_train … --npz`` wrote, and predict nothing.
        executor: whose processes predict and score; None is this one.

    Raises:
        InputError: the metric is none of these regions; the model cannot be tuned; its cases are missing or damaged,
            or too few; or the best settings find next to nothing of the tumour.
    """
    (model,) = settings.models
    checkpoints = dict(zip(model.folds, model.checkpoints, strict=True))
    dataset_json = checked_dataset_json(model.folder)
    ranked_by = chosen_metric(metric, protocol, dataset_json, model.folder / DATASET_JSON)
    settings = replace(settings, postprocessing=default_config(dataset_json))
    ids = validation_ids(model.folder, checkpoints)
    tuned_on = weights_tuned_on(checkpoints)
    if from_npz:
        files, averaging = stored_validation_npz(model.folder, ids, tuned_on, executor), LOGITS
    else:
        files, averaging = predict_validation(settings, ids, executor), PROBABILITIES
    cases = [file for of_fold in files.values() for file in of_fold]
    parts = parts_of([fold for fold, of_fold in files.items() for _ in of_fold])
    if len(set(parts)) < 2:
        msg = f"{model.folder}: one validation case is not enough to tune on; train more folds"
        raise InputError(msg)
    scores = Scores(cases, ranked_by, regions_of(dataset_json), executor=executor)
    flips = from_npz or settings.use_mirroring  # nnU-Net's validation always flips
    tuning = _tune(model.folder, dataset_json, scores, parts, averaging, tuned_on, flips=flips)
    keep_with_model(tuning.chosen, model.folder)
    expected_dice = learn_from_stored(cases, parts, tuning.chosen, regions_of(dataset_json), executor)
    keep_expected_dice(expected_dice, model.folder)
    return Tuned(tuning, ranked_by, expected_dice)


def _tune(
    folder: Path,
    dataset_json: Mapping[str, Any],
    scores: Scores,
    parts: Sequence[str],
    averaging: str,
    tuned_on: WeightsByFold,
    *,
    flips: bool,
) -> Tuning:
    """Search on stored cases, and write table and picture."""
    grid = grid_of(dataset_json)
    n_values = sum(len(coordinate.values) for coordinate in grid)
    with tqdm(desc="search", unit="setting", total=(len(set(parts)) + 1) * n_values) as bar:
        scores.advance = bar.update
        start = default_config(dataset_json)
        tuning = tune(scores, parts, averaging, tuned_on, flips=flips, start=start, grid=grid)
        check_above_floor(scores.files, tuning.best, regions_of(dataset_json)[0])
        write_picture(scores, tuning, folder / PICTURE)
        bar.total = bar.n  # a search leaves out what loses, goes over the rest again, and meets what is scored already
    write_settings_table(scores, grid, folder / TABLE)
    return tuning
