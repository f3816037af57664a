"""Find images and references of the validation cases of a model, and check that they belong together."""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from dataset_conversion.declared_labels import declared_convention
from dataset_conversion.label_conventions import nnunet_convention
from nnunet_resunet_ds.base.dataset_json import have_other_cases, regions_of
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import FILE_ENDING, file_state, read_json, visible_files
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS_JSON, nnunet_folder, preprocess_command
from nnunet_resunet_ds.base.setting_checks import check_path_part
from nnunet_resunet_ds.training.checks.preprocessed_data import REFERENCES, check_references
from nnunet_resunet_ds.tuning.stored_case import CaseStore


class Inputs(NamedTuple):
    """Where the validation cases are."""

    images: Path
    references: Path


def checked_inputs(model: Path, ids: Mapping[str, Sequence[str]]) -> Inputs:
    """Return the folders of images and references, after a check that they belong together and to the model.

    Args:
        model: its folder.
        ids: fold → its validation cases.

    Raises:
        InputError: they do not.
    """
    images = dataset_folder_of(model, "nnUNet_raw") / "imagesTr"
    references = checked_references(model)
    _check_raw(model, images.parent, [case_id for case_ids in ids.values() for case_id in case_ids])
    return Inputs(images, references)


def checked_references(model: Path) -> Path:
    """Return the folder of the references, in which something says that their values are the model's.

    Raises:
        InputError: nothing says it, or something says otherwise.
    """
    references = dataset_folder_of(model, "nnUNet_preprocessed") / REFERENCES
    _check_references(references, model)
    return references


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
    preprocessed = dataset_folder_of(folder, "nnUNet_preprocessed")
    check_references(preprocessed, raw, case_ids, f"make it again: {preprocess_command(raw.name)}")
    if have_other_cases(read_json(folder / DATASET_JSON), read_json(preprocessed / DATASET_JSON)):
        LOG.warning("%s: the dataset has changed since the model was trained on it", preprocessed)


def dataset_folder_of(folder: Path, variable: str) -> Path:
    """Return the folder of the dataset that a model was trained on, below one of nnU-Net's folders.

    Raises:
        InputError: it is not there.
    """
    plans = read_json(folder / PLANS_JSON)
    name = plans.get("dataset_name") if isinstance(plans, dict) else None
    check_path_part(f"{folder / PLANS_JSON}: dataset_name", name)
    dataset = nnunet_folder(variable) / str(name)
    if not dataset.is_dir():
        msg = f"{dataset}: no such folder; validation cases are of the dataset that the model was trained on"
        raise InputError(msg)
    return dataset


def input_states(images: Path | None, store: CaseStore, case_id: str) -> list[list[int]]:
    """Return the states of a case's reference and images, as far as they are there."""
    files = [store.reference(case_id)]
    files += sorted(images.glob(f"{glob.escape(case_id)}_[0-9][0-9][0-9][0-9]{FILE_ENDING}")) if images else []
    return [file_state(file) for file in files if file.is_file()]
