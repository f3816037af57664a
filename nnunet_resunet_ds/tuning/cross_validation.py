"""Probabilities of the cases that each fold was validated on, kept small beside the model, for tuning."""

import glob
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from dataset_conversion.editions import FILE_ENDING, NNUNET_KEY
from dataset_conversion.image_cases import CaseSet, find_prediction_cases
from dataset_conversion.labels import NNUNET_CONVENTION, declared_convention
from dataset_conversion.scan import RawCase
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import file_state, read_json, remove_half_written, write_json
from nnunet_resunet_ds.base.images import read_labels
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS_JSON, SPLITS, nnunet_folder, preprocess_command
from nnunet_resunet_ds.base.parallel import for_each, results_and_problems
from nnunet_resunet_ds.base.region_checks import have_other_cases
from nnunet_resunet_ds.base.setting_checks import check_path_part
from nnunet_resunet_ds.base.splits_file import fold_of_split, noted_cases
from nnunet_resunet_ds.compute.formats import FP32
from nnunet_resunet_ds.inference.on_workers import PredictorSettings, predict_cases_on
from nnunet_resunet_ds.inference.pipeline import PredictedCase, predict_cases
from nnunet_resunet_ds.training.checkpoints import SUMMARY, VALIDATION, read_checkpoint, weights_identity
from nnunet_resunet_ds.training.preprocessed_data import REFERENCES, check_references
from nnunet_resunet_ds.training.recipe import SECTION
from nnunet_resunet_ds.tuning.stored_case import cropped_case, write_stored_case
from postprocessing.config import PostprocessingConfig
from postprocessing.probabilities import check_painted, probabilities_on_grid

CACHE = "tuning"
"""Folder in that of the model."""
_MADE_WITH = "made_with.json"
FORMAT = 2
"""Of stored cases; those of another are made anew."""


@dataclass(frozen=True)
class CaseStore:
    """A folder of stored cases (a `Sink` of prediction).

    Args:
        folder: for one file a case.
        references: folder of label maps in nnU-Net's values.
    """

    folder: Path
    references: Path

    def open(self, made_with: Mapping[str, Any]) -> None:
        """Make the folder; drop what was made with anything else."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_half_written(self.folder, "*")
        record = self.folder / _MADE_WITH
        wanted = json.loads(json.dumps({"format": FORMAT, **made_with}))
        if not record.is_file() or read_json(record) != wanted:
            for file in self.folder.glob("*.npz"):
                file.unlink()
            write_json(wanted, record)

    def file(self, case_id: str) -> Path:
        """Return where a case is kept."""
        return self.folder / f"{case_id}.npz"

    def has(self, case_id: str) -> bool:
        """Tell whether a case is there."""
        return self.file(case_id).is_file()

    def is_finished(self, case: RawCase) -> bool:
        """Tell whether a case is there; `open` has dropped those of other images."""
        return self.has(case.case_id)

    @property
    def writer(self) -> "CaseStore":
        """Return itself."""
        return self

    def write_case(self, case: PredictedCase) -> None:
        """Keep a case with its reference."""
        image, reference = read_labels(self.reference(case.case_id))
        if reference.shape != case.labels.shape:
            msg = (
                f"{self.reference(case.case_id)}: has shape {reference.shape}, and its images have "
                f"{case.labels.shape}; preprocess the dataset again with nnUNetv2_plan_and_preprocess"
            )
            raise InputError(msg)
        self._keep(case.case_id, case.probabilities, image, reference)

    def keep_saved(self, case_id: str, file: Path, model: Path) -> None:
        """Keep a case with its reference, of which nnU-Net has saved the probabilities.

        Raises:
            InputError: a file is missing or damaged, or they are of different images or predictions.
        """
        image, reference = read_labels(self.reference(case_id))
        probabilities = probabilities_on_grid(file, image, model)
        label_map = file.with_name(f"{case_id}{FILE_ENDING}")
        if label_map.is_file():
            check_painted(probabilities, file, label_map)
        self._keep(case_id, probabilities, image, reference)

    def reference(self, case_id: str) -> Path:
        """Return the file of a case's reference."""
        return self.references / f"{case_id}{FILE_ENDING}"

    def _keep(
        self,
        case_id: str,
        probabilities: NDArray[np.floating],
        image: sitk.Image,
        reference: NDArray[np.integer],
    ) -> None:
        volume = float(np.prod(image.GetSpacing()))
        write_stored_case(cropped_case(probabilities, reference.astype(np.uint8), volume), self.file(case_id))

    def note(self, case_id: str, entry: Mapping[str, Any]) -> None:
        """Do nothing: what is odd about training images was said when they were converted."""

    def note_failure(self, case_id: str, reason: str) -> None:
        """Do nothing: a case that fails ends the tuning."""


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
            "on different splits; tune on those of one split with -f, or train the others again"
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
    noted = noted_cases(read_checkpoint(checkpoint, mapped=True).get(SECTION) or {})
    if noted is not None and fold != "all":
        if now != noted:
            LOG.warning("%s: the split has changed since fold %s was trained; its own cases are used", dataset, fold)
        return list(noted.val)
    if now is None:
        read_json(dataset / SPLITS)  # says so where there is none
        msg = (
            f"{dataset / SPLITS}: has no validation cases of fold {fold}; tuning needs folds that were held out: train "
            "fold 0, 1 …"
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
    if not summary.is_file() or summary.stat().st_mtime_ns < checkpoint.stat().st_mtime_ns:
        return set()
    try:
        files = [Path(case["prediction_file"]).name for case in read_json(summary)["metric_per_case"]]
    except (InputError, LookupError, TypeError):
        return set()
    return {name.removesuffix(FILE_ENDING) for name in files}


def predict_validation(
    folder: Path,
    ids: Mapping[str, Sequence[str]],
    checkpoint: str,
    settings: Mapping[str, Any],
    executor: Executor | None = None,
) -> dict[str, list[Path]]:
    """Predict the validation cases of each fold with its own weights, those that are not kept from before.

    Args:
        folder: of the model.
        ids: fold → its validation cases.
        checkpoint: file name of the weights.
        settings: device, precision and use_mirroring of `Predictor`.
        executor: whose processes predict; None is this one.

    Returns:
        Fold → files of its stored cases.

    Raises:
        InputError: images or references are missing or damaged.
    """
    raw = _dataset_folder(folder, "nnUNet_raw")
    images = raw / "imagesTr"
    _check_references(folder)
    _check_raw(folder, raw, [case_id for case_ids in ids.values() for case_id in case_ids])
    found: dict[str, list[Path]] = {}
    for fold, case_ids in ids.items():
        store = CaseStore(folder / CACHE / f"fold_{fold}", _references(folder))
        weights = file_state(folder / f"fold_{fold}" / checkpoint)
        inputs = {case_id: _states(images, store, case_id) for case_id in case_ids}
        store.open({"weights": [checkpoint, *weights], **_in_json(settings), "inputs": inputs})
        if not all(map(store.has, case_ids)):
            LOG.info("fold %s: %d validation cases", fold, len(case_ids))
            model = (folder.resolve(), (fold,), checkpoint)
            predictor = PredictorSettings((model,), (tuple(weights),), PostprocessingConfig.paper(), **settings)
            _predict(predictor, images, case_ids, store, executor)
        found[fold] = [store.file(case_id) for case_id in case_ids]
    return found


def stored_validation_npz(
    folder: Path, ids: Mapping[str, Sequence[str]], executor: Executor | None = None
) -> dict[str, list[Path]]:
    """Keep what ``nnUNetv2_train … --npz`` wrote of the validation cases; see `predict_validation`.

    Raises:
        InputError: a file is missing or damaged.
    """
    _check_references(folder)
    found: dict[str, list[Path]] = {}
    for fold, case_ids in ids.items():
        store = CaseStore(folder / CACHE / f"fold_{fold}_npz", _references(folder))
        sources = {case_id: folder / f"fold_{fold}" / "validation" / f"{case_id}.npz" for case_id in case_ids}
        missing = [path for path in sources.values() if not path.is_file()]
        if missing:
            msg = f"{missing[0]}: missing; make it with nnUNetv2_train … {fold} --val --npz, or leave out --npz"
            raise InputError(msg)
        references = {case_id: _states(None, store, case_id) for case_id in case_ids}
        store.open({"npz": {case_id: file_state(path) for case_id, path in sources.items()}, "inputs": references})
        to_keep = [item for item in sources.items() if not store.has(item[0])]
        keep = partial(_keep, store=store, model=folder)
        _, problems = results_and_problems(for_each(to_keep, keep, f"fold {fold}", executor, name=itemgetter(0)))
        if problems:
            raise InputError("\n".join(problems))
        found[fold] = [store.file(case_id) for case_id in case_ids]
    return found


def _keep(case: tuple[str, Path], store: CaseStore, model: Path) -> None:
    case_id, probabilities = case
    store.keep_saved(case_id, probabilities, model)


def _predict(
    settings: PredictorSettings, images: Path, case_ids: Sequence[str], store: CaseStore, executor: Executor | None
) -> None:
    # The workers' device is their own.
    predictor = (replace(settings, device="cpu", precision=FP32) if executor else settings).predictor()
    everything = find_prediction_cases([images], predictor.channels, NNUNET_KEY)
    cases = [case for case in everything.cases if case.case_id in set(case_ids)]
    missing = sorted(set(case_ids) - {case.case_id for case in cases})
    if missing:
        msg = f"{images}: no images of validation cases {', '.join(missing)}"
        raise InputError(msg)
    wanted = CaseSet(everything.edition, everything.reason, cases, everything.channels, {})
    if executor:
        predicted = predict_cases_on(executor, settings, wanted, store, resume=True)
    else:
        predicted = predict_cases(predictor, wanted, store, resume=True)
    if predicted.failures:
        raise InputError("\n".join(predicted.failures[case_id] for case_id in sorted(predicted.failures)))


def _states(images: Path | None, store: CaseStore, case_id: str) -> list[list[int]]:
    """Return the states of a case's reference and images, as far as they are there."""
    files = [store.reference(case_id)]
    files += sorted(images.glob(f"{glob.escape(case_id)}_[0-9][0-9][0-9][0-9]{FILE_ENDING}")) if images else []
    return [file_state(file) for file in files if file.is_file()]


def _references(folder: Path) -> Path:
    return _dataset_folder(folder, "nnUNet_preprocessed") / REFERENCES


def _check_references(folder: Path) -> None:
    """Refuse references that are not said to have nnU-Net's label values.

    Raises:
        InputError: nothing says it, or something says otherwise.
    """
    references = _references(folder)
    files = [file for file in sorted(references.glob(f"*{FILE_ENDING}")) if not file.name.startswith(".")]
    declared = declared_convention(files) if files else None
    if files and (declared is None or declared.convention != NNUNET_CONVENTION):
        msg = (
            f"{references}: {references.parent / DATASET_JSON} does not say that these are WT, TC and ET in nnU-Net's "
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
        msg = f"{dataset}: no such folder; tuning needs the dataset that the model was trained on"
        raise InputError(msg)
    return dataset


def _in_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, bool) else str(value) for name, value in settings.items()}
