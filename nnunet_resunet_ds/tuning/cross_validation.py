"""Predict the cases that each fold was validated on, and store their probabilities in the model folder, for tuning."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

from dataset_conversion.editions import NNUNET_KEY
from dataset_conversion.image_cases import CaseSet, find_prediction_cases
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import file_state
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.inference.model_checks import check_models
from nnunet_resunet_ds.inference.on_workers import predict_cases_on
from nnunet_resunet_ds.inference.pipeline import predict_cases
from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings
from nnunet_resunet_ds.inference.predictor import Predictor
from nnunet_resunet_ds.training.checkpoint.checkpoint_content import weights_identity
from nnunet_resunet_ds.training.checkpoint.checkpoints import Weights
from nnunet_resunet_ds.tuning.stored_case import CACHE, CaseStore
from nnunet_resunet_ds.tuning.validation_data import Inputs, checked_inputs, input_states


def predict_validation(
    settings: PredictionSettings, ids: Mapping[str, Sequence[str]], executor: Executor | None = None
) -> dict[str, list[Path]]:
    """Predict the validation cases of each fold with its own weights, except those that are stored already.

    Args:
        settings: of one model; device, number format and flips count.
        ids: fold → its validation cases.
        executor: whose processes predict; None is this one.

    Returns:
        Fold → files of its stored cases.

    Raises:
        InputError: images or references are missing or damaged.
    """
    inputs = checked_inputs(settings.models[0].folder, ids)

    def stored(fold: str, case_ids: Sequence[str]) -> list[Path]:
        of_fold = _of_fold(settings, fold)
        (file,) = of_fold.models[0].checkpoints
        weights = [file.name, *file_state(file)]
        return _stored(of_fold, f"fold_{fold}", weights, inputs, case_ids, of_fold.load_models, executor)

    return {fold: stored(fold, case_ids) for fold, case_ids in ids.items()}


def predict_validation_with(
    weights: Mapping[str, Weights], settings: PredictionSettings, ids: Mapping[str, Sequence[str]]
) -> dict[str, list[Path]]:
    """Predict the validation cases in this process with the weights given; the results go to folders of their own.

    Args:
        weights: fold → weights of the network of its checkpoint.
        settings: of one model.
        ids: fold → its validation cases.
    """
    inputs = checked_inputs(settings.models[0].folder, ids)

    def stored(fold: str, case_ids: Sequence[str]) -> list[Path]:
        of_fold, own = _of_fold(settings, fold), weights[fold]

        def models() -> list[Model]:
            return [replace(model, weights={fold: own}) for model in of_fold.load_models()]

        return _stored(of_fold, f"fold_{fold}_other_weights", [weights_identity(own)], inputs, case_ids, models)

    return {fold: stored(fold, case_ids) for fold, case_ids in ids.items()}


def _stored(
    settings: PredictionSettings,
    name: str,
    weights: Sequence[Any],
    inputs: Inputs,
    case_ids: Sequence[str],
    load_models: Callable[[], Sequence[Model]],
    executor: Executor | None = None,
) -> list[Path]:
    """Return the stored cases of a fold, after predicting those that are not there yet.

    Args:
        settings: of the fold.
        name: of the folder to store them in.
        weights: what tells the weights from others.
        inputs: images and references.
        case_ids: of the fold.
        load_models: called where there is something to predict.
        executor: whose processes predict; None is this one.
    """
    store = CaseStore(settings.models[0].folder / CACHE / name, inputs.references)
    store.open(_made_with(settings, weights, inputs.images, store, case_ids))
    if not all(map(store.has, case_ids)):
        LOG.info("%s: %d validation cases", name.replace("_", " "), len(case_ids))
        _predict(settings, load_models(), inputs.images, case_ids, store, executor)
    return [store.file(case_id) for case_id in case_ids]


def _of_fold(settings: PredictionSettings, fold: str) -> PredictionSettings:
    """Return the settings that predict with one fold of the one model, wherever a process works."""
    (model,) = settings.models
    return replace(settings, models=(replace(model, folder=model.folder.resolve(), folds=(fold,)),))


def _made_with(
    settings: PredictionSettings, weights: Sequence[Any], images: Path, store: CaseStore, case_ids: Sequence[str]
) -> dict[str, Any]:
    """Return what decides the probabilities of a fold: what tells its weights, settings and states of the files."""
    return {
        "weights": weights,
        "device": str(settings.device),
        "precision": settings.precision,
        "use_mirroring": settings.use_mirroring,
        "inputs": {case_id: input_states(images, store, case_id) for case_id in case_ids},
    }


def _predict(
    settings: PredictionSettings,
    models: Sequence[Model],
    images: Path,
    case_ids: Sequence[str],
    store: CaseStore,
    executor: Executor | None = None,
) -> None:
    everything = find_prediction_cases([images], models[0].channels, NNUNET_KEY)
    cases = [case for case in everything.cases if case.case_id in set(case_ids)]
    missing = sorted(set(case_ids) - {case.case_id for case in cases})
    if missing:
        msg = f"{images}: no images of validation cases {', '.join(missing)}"
        raise InputError(msg)
    wanted = CaseSet(everything.edition, everything.reason, cases, everything.channels, {})
    if executor:
        check_models(settings, models)
        predicted = predict_cases_on(executor, settings, wanted, store, resume=True)
    else:
        predicted = predict_cases(Predictor(models, settings), wanted, store, resume=True)
    if predicted.failures:
        raise InputError("\n".join(predicted.failures[case_id] for case_id in sorted(predicted.failures)))
