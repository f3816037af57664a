"""Predict the cases that each fold was validated on, and store their probabilities in the model folder, for tuning."""

import glob
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from dataset_conversion.editions import NNUNET_KEY
from dataset_conversion.image_cases import CaseSet, find_prediction_cases
from dataset_conversion.labels import declared_convention, nnunet_convention
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import FILE_ENDING, file_state, read_json, visible_files
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.model_id import fold_folder
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS_JSON, SPLITS, nnunet_folder, preprocess_command
from nnunet_resunet_ds.base.parallel import for_each, results_and_problems
from nnunet_resunet_ds.base.region_checks import have_other_cases, regions_of
from nnunet_resunet_ds.base.setting_checks import check_path_part
from nnunet_resunet_ds.base.splits_file import fold_of_split
from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.inference.on_workers import predict_cases_on
from nnunet_resunet_ds.inference.pipeline import predict_cases
from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings, check_models
from nnunet_resunet_ds.inference.predictor import Predictor
from nnunet_resunet_ds.training.checkpoint_content import cases_of, weights_identity
from nnunet_resunet_ds.training.checkpoint_names import SUMMARY, VALIDATION
from nnunet_resunet_ds.training.checkpoints import Weights, read_checkpoint
from nnunet_resunet_ds.training.fold_record import VALIDATED, read_record
from nnunet_resunet_ds.training.fold_validation import is_validated
from nnunet_resunet_ds.training.preprocessed_data import REFERENCES, check_references
from nnunet_resunet_ds.tuning.stored_case import CaseStore

CACHE = "tuning"
"""Folder in that of the model."""


def validation_ids(folder: Path, checkpoints: Mapping[str, Path]) -> dict[str, list[str]]:
    """Return the cases that each fold was not trained on: as its checkpoint says, else as the split is now.

    Args:
        folder: of the model.
        checkpoints: fold → its checkpoint.

    Raises:
        InputError: the dataset or its splits are not there, a fold has no validation cases of its own, or folds were
            trained on splits that do not go together.
    """
    dataset = _dataset_folder(folder, "nnUNet_preprocessed")
    held_out = {fold: _held_out(dataset, fold, file) for fold, file in checkpoints.items()}
    times = Counter(case_id for case_ids in held_out.values() for case_id in case_ids)
    twice = sorted(case_id for case_id, count in times.items() if count > 1)
    if twice:
        msg = (
            f"{folder}: {len(twice)} cases, such as {twice[0]}, were held out of several folds, so these were trained "
            "on different splits; name those of one split with -f, or train the others again"
        )
        raise InputError(msg)
    for case_id in times:
        check_path_part(f"{dataset / SPLITS}: a case id", case_id)
    return held_out


def weights_tuned_on(checkpoints: Mapping[str, Path]) -> tuple[tuple[str, str], ...]:
    """Return each fold with the identity of its weights.

    Args:
        checkpoints: fold → its checkpoint.

    Raises:
        InputError: a checkpoint cannot be read.
    """
    return tuple(
        (fold, weights_identity(read_checkpoint(file, mapped=True)["network_weights"]))
        for fold, file in checkpoints.items()
    )


def _held_out(dataset: Path, fold: str, checkpoint: Path) -> list[str]:
    now = fold_of_split(dataset, fold)
    noted = cases_of(read_checkpoint(checkpoint, mapped=True))
    if noted is not None and fold != "all":
        if now != noted:
            LOG.warning("%s: the split has changed since fold %s was trained; its own cases are used", dataset, fold)
        return list(noted.val)
    if now is None:
        read_json(dataset / SPLITS)  # says so where there is none
        msg = (
            f"{dataset / SPLITS}: has no validation cases of fold {fold}; this needs folds with cases that were held "
            "out: train fold 0, 1 …"
        )
        raise InputError(msg)
    validated = _validated_cases(checkpoint)
    if not validated:
        LOG.info("fold %s: nothing notes which cases it was trained on, so those of the split as it is count", fold)
    if validated and not validated.issuperset(now.val):
        msg = (
            f"{checkpoint.parent}: was validated on other cases than fold {fold} of {dataset / SPLITS} has now; bring "
            "that split back, or train the fold again"
        )
        raise InputError(msg)
    return list(now.val)


def _validated_cases(checkpoint: Path) -> set[str]:
    """Return the cases that nnU-Net's summary of a fold is about; none where there is no summary of these weights."""
    summary = checkpoint.parent / VALIDATION / SUMMARY
    if not is_validated(checkpoint.parent, checkpoint.name):
        return set()
    try:
        files = [Path(case["prediction_file"]).name for case in read_json(summary)["metric_per_case"]]
    except (InputError, LookupError, TypeError):
        return set()
    return {name.removesuffix(FILE_ENDING) for name in files}


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
    images, references = _checked_inputs(settings, ids)
    found: dict[str, list[Path]] = {}
    for fold, case_ids in ids.items():
        of_fold = _of_fold(settings, fold)
        (model,) = of_fold.models
        store = CaseStore(model.folder / CACHE / f"fold_{fold}", references)
        (file,) = model.checkpoints
        store.open(_made_with(of_fold, [model.checkpoint, *file_state(file)], images, store, case_ids))
        if not all(map(store.has, case_ids)):
            LOG.info("fold %s: %d validation cases", fold, len(case_ids))
            _predict(of_fold, of_fold.load_models(), images, case_ids, store, executor)
        found[fold] = [store.file(case_id) for case_id in case_ids]
    return found


def predict_validation_with(
    weights: Mapping[str, Weights], settings: PredictionSettings, ids: Mapping[str, Sequence[str]]
) -> dict[str, list[Path]]:
    """Do what `predict_validation` does in this process with other weights; it stores these cases apart.

    Args:
        weights: fold → weights of the network of its checkpoint.
        settings: of one model.
        ids: fold → its validation cases.
    """
    images, references = _checked_inputs(settings, ids)
    found: dict[str, list[Path]] = {}
    for fold, case_ids in ids.items():
        of_fold = _of_fold(settings, fold)
        store = CaseStore(of_fold.models[0].folder / CACHE / f"fold_{fold}_other_weights", references)
        store.open(_made_with(of_fold, [weights_identity(weights[fold])], images, store, case_ids))
        if not all(map(store.has, case_ids)):
            LOG.info("fold %s: %d validation cases with other weights", fold, len(case_ids))
            models = [replace(model, weights={fold: weights[fold]}) for model in of_fold.load_models()]
            _predict(of_fold, models, images, case_ids, store)
        found[fold] = [store.file(case_id) for case_id in case_ids]
    return found


def _checked_inputs(settings: PredictionSettings, ids: Mapping[str, Sequence[str]]) -> tuple[Path, Path]:
    """Return the folders of images and references, after a check that they belong together and to the model.

    Raises:
        InputError: they do not.
    """
    (model,) = settings.models
    images = _dataset_folder(model.folder, "nnUNet_raw") / "imagesTr"
    references = _references(model.folder)
    _check_references(references, model.folder)
    _check_raw(model.folder, images.parent, [case_id for case_ids in ids.values() for case_id in case_ids])
    return images, references


def _of_fold(settings: PredictionSettings, fold: str) -> PredictionSettings:
    """Return the settings that predict with one fold of the one model, wherever a process works."""
    (model,) = settings.models
    return replace(settings, models=(replace(model, folder=model.folder.resolve(), folds=(fold,)),))


def stored_validation_npz(
    folder: Path,
    ids: Mapping[str, Sequence[str]],
    weights: Iterable[tuple[str, str]],
    executor: Executor | None = None,
) -> dict[str, list[Path]]:
    """Store what ``nnUNetv2_train … --npz`` wrote of the validation cases; see `predict_validation`.

    Args:
        folder: of the model.
        ids: fold → its validation cases.
        weights: fold and identity of the weights to tune on.
        executor: who stores; None is a thread for each core.

    Raises:
        InputError: a file is missing or damaged, or of the validation of other weights than these.
    """
    for fold, identity in weights:
        _check_validated_weights(fold_folder(folder, fold), identity)
    references = _references(folder)
    _check_references(references, folder)
    found: dict[str, list[Path]] = {}
    for fold, case_ids in ids.items():
        store = CaseStore(folder / CACHE / f"fold_{fold}_npz", references)
        sources = {case_id: fold_folder(folder, fold) / VALIDATION / f"{case_id}.npz" for case_id in case_ids}
        missing = [path for path in sources.values() if not path.is_file()]
        if missing:
            msg = f"{missing[0]}: missing; make it with nnUNetv2_train … {fold} --val --npz, or leave out --npz"
            raise InputError(msg)
        inputs = {case_id: _states(None, store, case_id) for case_id in case_ids}
        store.open({"npz": {case_id: file_state(path) for case_id, path in sources.items()}, "inputs": inputs})
        to_keep = [item for item in sources.items() if not store.has(item[0])]
        keep = partial(_keep, store=store, model=folder)
        _, problems = results_and_problems(for_each(to_keep, keep, f"fold {fold}", executor, name=itemgetter(0)))
        if problems:
            raise InputError("\n".join(problems))
        found[fold] = [store.file(case_id) for case_id in case_ids]
    return found


def _check_validated_weights(fold: Path, weights: str) -> None:
    """Refuse a validation of other weights than those that are tuned on, such as those of the best epoch.

    Raises:
        InputError: the record of the fold says that it is one; trainers of others write none.
    """
    validated = read_record(fold).get(VALIDATED, weights)
    if validated != weights:
        msg = (
            f"{fold / VALIDATION}: is of the weights {validated}, and the checkpoint to tune on has {weights}; "
            "validate that with nnUNetv2_train … --val --npz, or leave --npz out"
        )
        raise InputError(msg)


def _keep(case: tuple[str, Path], store: CaseStore, model: Path) -> None:
    case_id, probabilities = case
    store.keep_saved(case_id, probabilities, model)


def _made_with(
    settings: PredictionSettings, weights: Sequence[Any], images: Path, store: CaseStore, case_ids: Sequence[str]
) -> dict[str, Any]:
    """Return what decides the probabilities of a fold: what tells its weights, settings and states of the files."""
    return {
        "weights": weights,
        "device": str(settings.device),
        "precision": settings.precision,
        "use_mirroring": settings.use_mirroring,
        "inputs": {case_id: _states(images, store, case_id) for case_id in case_ids},
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
        predicted = predict_cases(Predictor.from_settings(settings, models), wanted, store, resume=True)
    if predicted.failures:
        raise InputError("\n".join(predicted.failures[case_id] for case_id in sorted(predicted.failures)))


def _states(images: Path | None, store: CaseStore, case_id: str) -> list[list[int]]:
    """Return the states of a case's reference and images, as far as they are there."""
    files = [store.reference(case_id)]
    files += sorted(images.glob(f"{glob.escape(case_id)}_[0-9][0-9][0-9][0-9]{FILE_ENDING}")) if images else []
    return [file_state(file) for file in files if file.is_file()]


def _references(folder: Path) -> Path:
    return _dataset_folder(folder, "nnUNet_preprocessed") / REFERENCES


def _check_references(references: Path, model: Path) -> None:
    """Check that something says that the references have nnU-Net's label values of the model's regions.

    Raises:
        InputError: nothing says it, or something says otherwise.
    """
    files = visible_files(references, FILE_ENDING)
    declared = declared_convention(files) if files else None
    dataset_json = read_json(model / DATASET_JSON)
    if files and (declared is None or declared.convention != nnunet_convention(dataset_json)):
        names = ", ".join(region.name for region in regions_of(dataset_json))
        msg = (
            f"{references}: {references.parent / DATASET_JSON} does not say that these are {names} in nnU-Net's "
            "values; preprocess the dataset again with nnUNetv2_plan_and_preprocess"
        )
        raise InputError(msg)


def _check_raw(folder: Path, raw: Path, case_ids: Sequence[str]) -> None:
    """Refuse images of other cases than the references are of; say so where the dataset has changed since training.

    Raises:
        InputError: a label map of the raw dataset is not the reference.
    """
    preprocessed = _dataset_folder(folder, "nnUNet_preprocessed")
    check_references(preprocessed, raw, case_ids, f"make it again: {preprocess_command(raw.name)}")
    if have_other_cases(read_json(folder / DATASET_JSON), read_json(preprocessed / DATASET_JSON)):
        LOG.warning("%s: the dataset has changed since the model was trained on it", preprocessed)


def _dataset_folder(folder: Path, variable: str) -> Path:
    plans = read_json(folder / PLANS_JSON)
    name = plans.get("dataset_name") if isinstance(plans, dict) else None
    check_path_part(f"{folder / PLANS_JSON}: dataset_name", name)
    dataset = nnunet_folder(variable) / str(name)
    if not dataset.is_dir():
        msg = f"{dataset}: no such folder; validation cases are of the dataset that the model was trained on"
        raise InputError(msg)
    return dataset
