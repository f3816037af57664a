"""Put a trained model into one file, with its card: weights that cannot run code, and a digest of every file."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nnunet_resunet_ds.base.files import write_json
from nnunet_resunet_ds.base.model_id import FOLD, folder_name
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS_JSON
from nnunet_resunet_ds.base.setting_checks import check_path_part
from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.models.archive import write_archive
from nnunet_resunet_ds.models.card import CARD, ModelCard
from nnunet_resunet_ds.models.card_text import CARD_TEXT, write_card_text
from nnunet_resunet_ds.models.inventory import configuration_name
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import FINAL, SAFE_FINAL, SUMMARY, VALIDATION
from nnunet_resunet_ds.training.checkpoint.checkpoints import read_checkpoint
from nnunet_resunet_ds.training.checkpoint.pretrained import PRETRAINED, pretrained_of
from nnunet_resunet_ds.training.checkpoint.safe_weights import write_safe_weights
from nnunet_resunet_ds.uncertainty.expected_dice import EXPECTED_DICE
from postprocessing.model_config import SETTINGS_FILE

_AS_THEY_ARE = (DATASET_JSON, SETTINGS_FILE, EXPECTED_DICE)


def package(model: Model, card: ModelCard, output: Path, *, for_nnunet: bool = False, case_ids: bool = False) -> None:
    """Write a model into a zip; its weights are ``checkpoint_final`` there, whatever they are called here.

    Args:
        model: with the folds and the weights that go in.
        card: of it.
        output: the zip; the folder above it is made.
        for_nnunet: as ``nnUNetv2_install_pretrained_model_from_zip`` reads it, with checkpoints instead of safetensors.
        case_ids: let the weights note the ids of their training cases, so that prediction can warn of these.
    """
    parent = output.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        card.write(folder)
        write_card_text(card, folder)
        files = {text: folder / text for text in (CARD, CARD_TEXT)}
        files |= write_texts(model, folder, case_ids=case_ids)
        if for_nnunet:
            files |= _checkpoints(model)
        else:
            files |= write_safe_model(model, folder, half=False, case_ids=case_ids)
        write_archive(packed_name(model), files, output, with_digests=not for_nnunet)


def packed_name(model: Model) -> str:
    """Return where a model goes below ``$nnUNet_results``.

    Raises:
        InputError: its plans name no dataset, or one that is no name of a folder.
    """
    dataset = model.plans.plans.get("dataset_name")
    check_path_part(f"{model.folder / PLANS_JSON}: dataset_name", dataset)
    name = folder_name(model.trainer_name, model.plans.plans_name, configuration_name(model.folder))
    return f"{dataset}/{name}"


def write_texts(model: Model, folder: Path, *, case_ids: bool) -> dict[str, Path]:
    """Write plans, dataset.json and settings; return name → file.

    The plans are those that the model predicts with, which may be others than its plans.json says.

    Args:
        model: whose.
        folder: that is there.
        case_ids: let the plans name the cases of the model that the training started from.
    """
    pretrained = pretrained_of(model.plans.plans)
    nameless = {} if case_ids or pretrained is None else {PRETRAINED: replace(pretrained, cases=()).to_mapping()}
    write_json({**model.plans.plans, **nameless}, folder / PLANS_JSON)
    there = [name for name in _AS_THEY_ARE if (model.folder / name).is_file()]
    for name in there:
        shutil.copyfile(model.folder / name, folder / name)
    return {name: folder / name for name in (PLANS_JSON, *there)}


def write_safe_model(model: Model, folder: Path, *, half: bool, case_ids: bool) -> dict[str, Path]:
    """Write the weights of each fold of a model as safetensors; return the path below the folder → file.

    Args:
        model: whose weights.
        folder: that is there.
        half: in 16 bits, see `write_safe_weights`, as for the next one.
        case_ids: note the ids of the cases.
    """
    files = {}
    for fold, file in zip(model.weights, model.files.checkpoints, strict=True):
        name = f"{FOLD}{fold}/{SAFE_FINAL}"
        (folder / name).parent.mkdir(exist_ok=True)
        write_safe_weights(read_checkpoint(file, mapped=True), folder / name, half=half, case_ids=case_ids)
        files[name] = folder / name
    return files


def _checkpoints(model: Model) -> Mapping[str, Path]:
    """Return what nnU-Net's own export has of each fold."""
    files = {}
    for fold, file in zip(model.weights, model.files.checkpoints, strict=True):
        files[f"{FOLD}{fold}/{FINAL}"] = file
        summary = file.parent / VALIDATION / SUMMARY
        if file.name == FINAL and summary.is_file():
            files[f"{FOLD}{fold}/{VALIDATION}/{SUMMARY}"] = summary
    return files
