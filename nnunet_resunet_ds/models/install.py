"""Install a packed model below ``$nnUNet_results``: ours, or nnU-Net's own zip; nothing that could run code is read."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nnunet_resunet_ds.base.configurations import changed_settings
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.model_id import FOLD
from nnunet_resunet_ds.base.nnunet_folders import NNUNET_FOLDERS, PLANS_JSON, dataset_number, datasets_with_id
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.models.archive import unpack
from nnunet_resunet_ds.models.card import CARD
from nnunet_resunet_ds.models.inventory import configuration_name, is_three_dimensional
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import SAFE_ENDING, available_folds
from nnunet_resunet_ds.training.checkpoint.checkpoints import read_checkpoint, write_checkpoint
from nnunet_resunet_ds.uncertainty.expected_dice import read_expected_dice
from postprocessing.model_config import config_of_model


def install(archive: Path, results: Path, *, overwrite: bool = False) -> list[Path]:
    """Unpack, check and read every model of a zip, then put it in its place; stock nnU-Net reads it there, too.

    Models of nnU-Net's that are 2-D or the second stage of a cascade are left out, with a line.

    Args:
        archive: the zip.
        results: ``$nnUNet_results``.
        overwrite: replace a model of the same name, with all its folds.

    Returns:
        The folder of each model.

    Raises:
        InputError: the zip is damaged or refused, a model of this name is there, or another dataset has the number.
    """
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=results, prefix=".install_") as name:
        folder = Path(name)
        models = _volumetric(archive, list(unpack(archive, folder)))
        targets = [results / model.relative_to(folder) for model in models]
        _check_targets(targets, overwrite=overwrite)
        for model in models:
            _with_checkpoints(model)
            _check(archive, model)
        for number, (model, target) in enumerate(zip(models, targets, strict=True)):
            _put(model, target, folder / f"replaced_{number}")
    return targets


def _volumetric(archive: Path, models: Sequence[Path]) -> list[Path]:
    volumetric = [model for model in models if is_three_dimensional(model)]
    for model in models:
        if model not in volumetric:
            LOG.warning("%s: %s is 2-D or part of a cascade, and is left out", archive, model.name)
    if not volumetric:
        msg = f"{archive}: holds no model that predicts volumes by itself; install it with nnU-Net if you trust it"
        raise InputError(msg)
    return volumetric


def _check_targets(targets: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse to replace a model unasked, and to give a number to a second dataset: nnU-Net would find neither."""
    for target in targets:
        dataset = target.parent.name
        number = dataset_number(dataset)
        there = {folder.name for variable in NNUNET_FOLDERS for folder in datasets_with_id(variable, number)}
        others = sorted(there - {dataset})
        if others:
            msg = (
                f"{dataset}: its number is that of {', '.join(others)} here, and nnU-Net needs one name a number; set "
                "nnUNet_results to another folder for this model, or rename the dataset"
            )
            raise InputError(msg)
        if target.exists() and not overwrite:
            folds = ", ".join(sorted(path.name for path in target.glob(f"{FOLD}*")))
            msg = f"{target}: is there ({folds}); move it away, or give --overwrite to replace all of it"
            raise InputError(msg)


def _with_checkpoints(model: Path) -> None:
    """Write the weights as checkpoints, number for number, where they are safetensors; the card stays the newest."""
    for file in model.glob(f"{FOLD}*/*{SAFE_ENDING}"):
        write_checkpoint(read_checkpoint(file), file.with_suffix(".pth"))
        file.unlink()
    if (model / CARD).is_file():
        (model / CARD).touch()


def _check(archive: Path, model: Path) -> None:
    """Read all of a model as prediction does.

    Raises:
        InputError: something is missing, damaged or refused.
    """
    names = {file.name for file in model.glob(f"{FOLD}*/*.pth")}
    if not names:
        msg = f"{archive}: {model.name} has no weights; pack it again"
        raise InputError(msg)
    try:
        for name in sorted(names):
            plans = load_model(model, available_folds(model, name), name).plans.plans
            changed = changed_settings(plans, read_json(model / PLANS_JSON), configuration_name(model))
            if changed:
                msg = f"{model / PLANS_JSON}: has another {', '.join(changed)} than {name} was trained with"
                raise InputError(msg)
        config_of_model(model)
        read_expected_dice(model)
    except InputError as error:
        msg = str(error).replace(f"{model.parent.parent}/", f"{archive}: ")
        raise InputError(msg) from error


def _put(model: Path, target: Path, replaced: Path) -> None:
    """Move a model to its place, the one that was there out of it; back again where that fails."""
    target.parent.mkdir(exist_ok=True)
    if target.exists():
        os.replace(target, replaced)  # noqa: PTH105 (the name everyone greps for)
    try:
        os.replace(model, target)  # noqa: PTH105
    except OSError:
        if replaced.exists():
            os.replace(replaced, target)  # noqa: PTH105
        raise
