"""Make the card of a trained model from what its folder, and the user, tell of it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_resunet_ds.compute.environment import versions
from nnunet_resunet_ds.evaluation.metrics_file import read_metrics
from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.models.card import DICE, EVALUATION, METRICS, VALIDATION, ModelCard, Score, Scores, Source
from nnunet_resunet_ds.models.inventory import configuration_name, described
from nnunet_resunet_ds.models.validation import validation_scores
from nnunet_resunet_ds.training.checkpoints import FOLD
from nnunet_resunet_ds.training.fold_record import read_record

NOT_SAID = "not said"
LIMITS = ("Not a medical device.",)


def card_of_model(
    model: Model,
    *,
    licence: str = NOT_SAID,
    citations: Sequence[str] = (),
    metrics: Path | None = None,
    limits: Sequence[str] = LIMITS,
    case_ids: bool = False,
) -> ModelCard:
    """Return the card of a model.

    Args:
        model: with the folds that are shared.
        licence: of its data and weights, in words.
        citations: that the data asks for.
        metrics: what ``resunet-ds evaluate`` wrote about cases that the model had not seen; None takes what nnU-Net's
            validation of the folds left.
        limits: for which cases it is not made.
        case_ids: name the training cases, as far as the checkpoints note them.

    Raises:
        InputError: a file is missing or damaged.
    """
    known = described(model.folder, model.folder.name)
    cases = tuple(sorted(model.training_cases)) if case_ids else ()
    scores, how = _measured(model, metrics)
    return ModelCard(
        title=f"{known.data}, {model.trainer_name}",
        summary=f"{model.trainer_name} of {known.n_cases} cases of {known.data}, folds {', '.join(model.weights)}",
        sources=(Source(known.data, licence, tuple(citations), known.n_cases, cases),),
        scores=scores,
        how_measured=how,
        folds=tuple(_fold_rows(model)),
        training=_training(model),
        prediction=f"A case of usual size takes {known.tera_operations:g} TFLOP without flips.",
        limits=tuple(limits),
    )


def _measured(model: Model, metrics: Path | None) -> tuple[Scores, str]:
    """Return scores, and how they came about."""
    if metrics is None:
        found = validation_scores(model.folder, model.dataset_json, tuple(model.weights))
        scores = {DICE: {VALIDATION: by_region}} if (by_region := _summarised(found)) else {}
        return scores, "Each case is predicted by a fold that was not trained on it: nnU-Net's own validation."
    protocol, cases = read_metrics(metrics)
    by_metric = {
        metric: _summarised({region: [case[region][metric] for case in cases.values()] for region in protocol.regions})
        for metric in METRICS
        if metric in protocol.metrics
    }
    how = f"resunet-ds evaluate on {len(cases)} cases, by {protocol.name}; its maker says that it had not seen them."
    return {metric: {EVALUATION: by_region} for metric, by_region in by_metric.items()}, how


def _summarised(found: Mapping[str, Sequence[float]]) -> dict[str, Score]:
    """Return mean, least and most of each region; cases without a value do not count, nor do regions without any."""
    values = {region: np.array(numbers, float) for region, numbers in found.items()}
    return {
        region: Score(*(round(float(f(numbers)), 4) for f in (np.nanmean, np.nanmin, np.nanmax)))
        for region, numbers in values.items()
        if len(numbers) and not np.isnan(numbers).all()
    }


def _fold_rows(model: Model) -> Iterator[dict[str, Any]]:
    for fold in model.weights:
        found = validation_scores(model.folder, model.dataset_json, (fold,))
        means = {region: score.mean for region, score in _summarised(found).items()}
        if len(means) == len(found) > 0:
            yield {"fold": fold, "n_cases": max(map(len, found.values())), DICE: means}


def _training(model: Model) -> dict[str, Any]:
    records = [read_record(model.folder / f"{FOLD}{fold}") for fold in model.weights]
    seconds = [record.get("epochs", 0) * (record.get("seconds_per_epoch") or 0) for record in records]
    number = str(model.plans.dataset_name).removeprefix("Dataset").partition("_")[0]
    trained = f"nnUNetv2_train {number} {configuration_name(model.folder)}"
    return {
        "seconds": round(sum(seconds)),
        "hardware": next((record["machine"] for record in records if "machine" in record), NOT_SAID),
        "versions": next((record["versions"] for record in records if "versions" in record), versions()),
        "commands": [
            f"{trained} {fold} -tr {model.trainer_name} -p {model.plans.plans_name}" for fold in model.weights
        ],
    }
