"""Put a trained model into one file, with its card: weights that cannot run code, and a digest of every file."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.model_id import CONFIGURATION, folder_name
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS_JSON
from nnunet_resunet_ds.base.setting_checks import check_path_part
from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.models.archive import write_archive
from nnunet_resunet_ds.models.card import CARD, ModelCard
from nnunet_resunet_ds.models.card_text import CARD_TEXT, write_card_text
from nnunet_resunet_ds.training.checkpoints import FOLD, SUMMARY, VALIDATION, read_checkpoint
from nnunet_resunet_ds.training.safe_weights import SAFE_ENDING, write_safe_weights
from nnunet_resunet_ds.uncertainty.expected_dice import EXPECTED_DICE
from postprocessing.model_config import SETTINGS_FILE

_TEXTS = (PLANS_JSON, DATASET_JSON, SETTINGS_FILE, EXPECTED_DICE)


def package(model: Model, card: ModelCard, output: Path, *, for_nnunet: bool = False, case_ids: bool = False) -> None:
    """Write a model into a zip.

    Args:
        model: with the folds and the weights that go in.
        card: of it.
        output: the zip.
        for_nnunet: as ``nnUNetv2_install_pretrained_model_from_zip`` reads it, with checkpoints instead of safetensors.
        case_ids: let the weights note the ids of their training cases, so that prediction can warn of these.
    """
    with tempfile.TemporaryDirectory(dir=output.absolute().parent) as name:
        folder = Path(name)
        card.write(folder)
        write_card_text(card, folder)
        files = {text: folder / text for text in (CARD, CARD_TEXT)}
        files |= {text: model.folder / text for text in _TEXTS if (model.folder / text).is_file()}
        if for_nnunet:
            files |= _checkpoints(model)
        else:
            files |= write_safe_model(model, folder, half=False, case_ids=case_ids)
        write_archive(packed_name(model.folder), files, output, with_digests=not for_nnunet)


def packed_name(folder: Path) -> str:
    """Return where a model goes below ``$nnUNet_results``.

    Raises:
        InputError: its plans name no dataset, or one that is no name of a folder.
    """
    plans = read_json(folder / PLANS_JSON)
    dataset = str(plans.get("dataset_name"))
    check_path_part(f"{folder / PLANS_JSON}: dataset_name", dataset)
    has_name = folder.name.count("__") == 2
    name = folder.name if has_name else folder_name("ResUNetDSTrainer", str(plans.get("plans_name")), CONFIGURATION)
    return f"{dataset}/{name}"


def _checkpoints(model: Model) -> Mapping[str, Path]:
    """Return what nnU-Net's own export has of each fold."""
    files = {}
    for fold in model.weights:
        for name in (model.checkpoint, f"{VALIDATION}/{SUMMARY}"):
            file = model.folder / f"{FOLD}{fold}" / name
            if file.is_file():
                files[f"{FOLD}{fold}/{name}"] = file
    return files


def write_safe_model(model: Model, folder: Path, *, half: bool, case_ids: bool) -> dict[str, Path]:
    """Write the weights of each fold of a model as safetensors; return the path below the folder → file.

    Args:
        model: whose weights.
        folder: that is there.
        half: in 16 bits, see `write_safe_weights`, as for the next one.
        case_ids: note the ids of the cases.
    """
    files = {}
    for fold in model.weights:
        name = Path(f"{FOLD}{fold}", model.checkpoint).with_suffix(SAFE_ENDING)
        (folder / name).parent.mkdir(exist_ok=True)
        checkpoint = read_checkpoint(model.folder / f"{FOLD}{fold}" / model.checkpoint)
        write_safe_weights(checkpoint, folder / name, half=half, case_ids=case_ids)
        files[name.as_posix()] = folder / name
    return files
