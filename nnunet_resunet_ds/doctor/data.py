"""Examine nnU-Net's folders, the state of a dataset, and whether a model can predict."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from nnunet_resunet_ds.base.configurations import resolved_configuration
from nnunet_resunet_ds.base.dataset_json import check_regions
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import FILE_ENDING, read_json, visible_files
from nnunet_resunet_ds.base.model_id import CONFIGURATION, TRAINER, begun_folds
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, NNUNET_FOLDERS, PLANS, datasets_with_id
from nnunet_resunet_ds.doctor import FAIL, OK, WARN, Finding
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import FINAL
from nnunet_resunet_ds.training.checks.fold_checks import check_fold
from nnunet_resunet_ds.training.checks.preprocessed_data import (
    FINGERPRINT,
    checked_data,
    preprocessed_cases,
    resampling_notes,
)
from nnunet_resunet_ds.training.planning.adapted_plans import obeyed_or_adapted, why_brain_is_not_marked
from postprocessing.config import PostprocessingConfig
from postprocessing.model_config import check_config_fits, config_of_model

GIB = 2**30
LEAST_SPACE = {"nnUNet_raw": 0.1 * GIB, "nnUNet_preprocessed": 5 * GIB, "nnUNet_results": 4 * GIB}
"""Bytes, where no dataset is given; of results, five checkpoints of 0.6 GiB and predictions."""
Described = tuple[str, list[str]]
"""What a folder holds, and remarks that do not stop a training."""
_SEE_TEXT = "do what the message says"
PREPROCESSED_PER_RAW_BYTE = 2.0
"""How much larger than its raw .nii.gz files a preprocessed case is: 1.8 times on five cases of BraTS 2021."""


def folders_for(dataset_id: int | None) -> Iterator[Finding]:
    """Yield a finding for each of nnU-Net's folders; with a dataset, compare the space with what it still needs."""
    space = None if dataset_id is None else space_needed(dataset_id)
    return folders(space, where_not_set=WARN if dataset_id is None else FAIL)


def folders(space_needed: float | None = None, where_not_set: str = FAIL) -> Iterator[Finding]:
    """Yield a finding for each of nnU-Net's folders.

    Args:
        space_needed: bytes of preprocessed data that will still be written; None: `LEAST_SPACE`.
        where_not_set: level of a variable that is not set.
    """
    needed = LEAST_SPACE if space_needed is None else {**LEAST_SPACE, "nnUNet_preprocessed": space_needed}
    for variable in NNUNET_FOLDERS:
        if os.environ.get(variable):
            yield _folder(variable, needed[variable])
        else:
            text = "is not set; training needs it, and predicting with your own models; the starter model does not"
            yield Finding(where_not_set, variable, text, f"export {variable}=FOLDER, a folder of yours")


def _folder(variable: str, needed: float) -> Finding:
    folder = Path(os.environ[variable])
    if not folder.is_dir():
        if folder.exists():
            return Finding(FAIL, variable, f"{folder} is a file", "name a folder")
        text = f"{folder} is not there yet; it is made when it is needed"
        return Finding(WARN, variable, text, f"if the path is right, nothing; else name another folder ({variable})")
    if not os.access(folder, os.W_OK | os.X_OK):
        return Finding(
            FAIL, variable, f"{folder} cannot be written to", "change its permissions, or name another folder"
        )
    free = shutil.disk_usage(folder).free
    text = f"{folder}, {free / GIB:.1f} GiB free"
    if free < needed:
        remedy = "make space, or set the variable to a folder on another disk"
        return Finding(WARN, variable, f"{text}; about {needed / GIB:.1f} GiB will be written there", remedy)
    return Finding(OK, variable, text)


def dataset(dataset_id: int) -> Iterator[Finding]:
    """Yield a finding for the raw dataset, the preprocessed one and its trained models."""
    yield _stage("nnUNet_raw", dataset_id, _raw_text, f"resunet-ds convert FOLDER -d {dataset_id}")
    preprocess = f"nnUNetv2_plan_and_preprocess -d {dataset_id} -c {CONFIGURATION}"
    yield _stage("nnUNet_preprocessed", dataset_id, _preprocessed_text, preprocess)
    train = f"nnUNetv2_train {dataset_id} {CONFIGURATION} 0 -tr {TRAINER}"
    yield _stage("nnUNet_results", dataset_id, _results_text, train)


def space_needed(dataset_id: int) -> float | None:
    """Estimate the bytes that preprocessing will still write; None where there is no raw dataset."""
    raw, preprocessed = (datasets_with_id(f"nnUNet_{kind}", dataset_id) for kind in ("raw", "preprocessed"))
    if len(raw) != 1:
        return None
    done = _preprocessed_cases(preprocessed[0]) if preprocessed else set()
    images = visible_files(raw[0] / "imagesTr", FILE_ENDING)
    left = [image.stat().st_size for image in images if image.name.rpartition("_")[0] not in done]
    return sum(left) * PREPROCESSED_PER_RAW_BYTE


def _stage(variable: str, dataset_id: int, describe: Callable[[Path], Described], command: str) -> Finding:
    subject = f"dataset {dataset_id} in {variable}"
    found = datasets_with_id(variable, dataset_id)
    if len(found) > 1:
        names = ", ".join(folder.name for folder in found)
        return Finding(FAIL, subject, f"has several names: {names}", "remove or rename all but one")
    if not found:
        return Finding(WARN, subject, "is not there yet", command)
    try:
        text, notes = describe(found[0])
    except InputError as error:
        return Finding(FAIL, subject, str(error), f"{_SEE_TEXT}; then {command}")
    return Finding(WARN, subject, "; ".join([text, *notes]), _SEE_TEXT) if notes else Finding(OK, subject, text)


def _raw_text(folder: Path) -> Described:
    dataset_json = read_json(folder / DATASET_JSON)
    check_regions(dataset_json)
    n_images = len(visible_files(folder / "imagesTr", FILE_ENDING))
    n_expected = dataset_json["numTraining"] * len(dataset_json["channel_names"])
    if n_images != n_expected:
        msg = f"{folder / 'imagesTr'}: {n_images} images, and {DATASET_JSON} says {n_expected}"
        raise InputError(msg)
    return f"{folder.name}: {dataset_json['numTraining']} training cases", []


def _preprocessed_text(folder: Path) -> Described:
    plans = read_json(folder / f"{PLANS}.json")
    fingerprint = read_json(folder / FINGERPRINT)
    n_training = read_json(folder / DATASET_JSON)["numTraining"]
    adapted = obeyed_or_adapted(plans, CONFIGURATION).plans
    settings = resolved_configuration(adapted, CONFIGURATION)
    check_fold(0, folder, n_training)
    cases = _preprocessed_cases(folder)
    if len(cases) < n_training:
        msg = f"{folder}: {len(cases)} of {n_training} cases are preprocessed for {CONFIGURATION}"
        raise InputError(msg)
    facts = [why_brain_is_not_marked(settings), *resampling_notes(settings, adapted["transpose_forward"], fingerprint)]
    text = ". ".join([f"{folder.name}: has plans, {len(cases)} cases preprocessed", *filter(None, facts)])
    return text.removesuffix("."), checked_data(folder, settings, CONFIGURATION)


def _preprocessed_cases(folder: Path) -> set[str]:
    return set(preprocessed_cases(folder / f"{PLANS}_{CONFIGURATION}"))


def _results_text(folder: Path) -> Described:
    models = sorted(path for path in folder.glob("*__*__*") if begun_folds(path))
    if not models:
        msg = f"{folder}: no checkpoint of any model yet"
        raise InputError(msg)
    return ", ".join(f"{path.name} ({_folds(path)})" for path in models), []


def _folds(model: Path) -> str:
    finished = {fold.name for fold in begun_folds(model) if (fold / FINAL).is_file()}
    begun = {fold.name for fold in begun_folds(model)} - finished
    parts = [f"{', '.join(sorted(finished))} finished"] if finished else []
    return "; ".join([*parts, *([f"{', '.join(sorted(begun))} begun"] if begun else [])])


def model(folder: Path) -> Finding:
    """Describe a model, and read all of its weights to see that they are whole."""
    subject = f"model {folder.name}"
    try:
        loaded = load_model(folder)
        config = config_of_model(folder)
        check_config_fits(config, loaded.dataset_json)
    except InputError as error:
        return Finding(FAIL, subject, str(error), f"{_SEE_TEXT}, or give another folder with -m")
    settings = "the paper's" if config == PostprocessingConfig.paper() else "its own"
    text = (
        f"{loaded.trainer_name}, {loaded.configuration.network_arch_class_name.rpartition('.')[2]}, patch "
        f"{'×'.join(map(str, loaded.patch_size))}, fold {', '.join(loaded.weights)}, {settings} post-processing"
    )
    return Finding(OK, subject, text)
