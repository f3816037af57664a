"""Read a trained model from its nnU-Net folder, without running anything that the files may hold."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_resunet_ds.base.configurations import changed_settings
from nnunet_resunet_ds.base.dataset_json import check_regions
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.model_id import check_model_folder, fold_folder
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS_JSON
from nnunet_resunet_ds.base.reader_space import READERS
from nnunet_resunet_ds.inference.model import Model, reader_name
from nnunet_resunet_ds.inference.named_layers import check_named_layers, named_layers
from nnunet_resunet_ds.training.checkpoint.checkpoint_content import cases_of, check_weights_fit, plans_of
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import (
    AVERAGED,
    BEST,
    BEST_LOSS,
    FINAL,
    SAFE_FINAL,
    available_folds,
    checkpoint_name,
)
from nnunet_resunet_ds.training.checkpoint.checkpoints import Checkpoint, read_checkpoint
from nnunet_resunet_ds.training.checkpoint.pretrained import pretrained_of
from nnunet_resunet_ds.training.planning.recipe import SECTION
from postprocessing.model_config import PLANS_SECTION

_STOCK = "predict with nnUNetv2_predict instead"


def load_model(folder: Path, folds: Sequence[int | str] | None = None, checkpoint: str = FINAL) -> Model:
    """Read a model that nnU-Net's training left, of our trainers or of stock ones.

    Args:
        folder: with ``plans.json``, ``dataset.json`` and ``fold_0`` …: ``TRAINER__PLANS__CONFIGURATION``.
        folds: whose weights to average; None is every fold that has the checkpoint, ``all`` only where it is alone.
        checkpoint: file name, for example ``checkpoint_best.pth``; see `checkpoint_name`.

    Raises:
        InputError: a file is missing, damaged or refused; or the model does not segment regions in three
            dimensions.
    """
    in_folder, dataset_json = _read_object(folder, PLANS_JSON), _read_object(folder, DATASET_JSON)
    _check_names(folder, PlansManager(dict(in_folder)), dataset_json)
    checkpoint = checkpoint_name(folder, checkpoint)
    files = checkpoint_files(folder, folds, checkpoint)
    weights, origins, trained_with, training_cases = {}, {}, {}, set()
    for fold, file in files.items():
        content = read_checkpoint(file)
        weights[fold], origins[file] = content["network_weights"], _origin(file, content)
        trained_with[file] = plans_of(content)
        noted = cases_of(content)
        training_cases |= set(noted.train if noted else ())
    trainer_name, configuration_name, mirror_axes = _agreed(origins)
    plans = PlansManager(dict(_plans(folder, in_folder, trained_with, configuration_name)))
    _check_names(folder, plans, dataset_json)
    configuration = _configuration(folder, plans, configuration_name)
    pretrained = pretrained_of(plans.plans)
    training_cases |= set(pretrained.cases if pretrained else ())
    model = Model(
        folder=folder,
        plans=plans,
        configuration=configuration,
        dataset_json=dataset_json,
        trainer_name=trainer_name,
        weights=weights,
        checkpoint=checkpoint,
        mirror_axes=mirror_axes,
        training_cases=frozenset(training_cases),
        knows_absent_channels=all(_leaves_channels_out(own or plans.plans) for own in trained_with.values()),
    )
    with torch.device("meta"):  # shapes alone
        expected = model.build_network().state_dict()
    for fold, file in files.items():
        check_weights_fit(file, weights[fold], expected, f"{folder / PLANS_JSON} is not the one it was trained with")
    return model


def _leaves_channels_out(plans: Mapping[str, Any]) -> bool:
    """Tell whether a training by the recipe in its plans left channels out at random."""
    recipe = plans.get(SECTION)
    return isinstance(recipe, Mapping) and bool(recipe.get("modality_dropout"))


def _read_object(folder: Path, name: str) -> Mapping[str, Any]:
    check_model_folder(folder)
    path = folder / name
    if not path.is_file():
        msg = f"{path}: missing; -m takes the model folder that training wrote, TRAINER__PLANS__CONFIGURATION"
        raise InputError(msg)
    content = read_json(path)
    if not isinstance(content, dict):
        msg = f"{path}: expected a JSON object, found {type(content).__name__}"
        raise InputError(msg)
    return content


def _check_names(folder: Path, plans: PlansManager, dataset_json: Mapping[str, Any]) -> None:
    try:
        check_regions(dataset_json)
        reader = reader_name(plans)
        channels = [int(key) for key in dataset_json["channel_names"]]
    except (InputError, LookupError, AttributeError, TypeError, ValueError) as error:
        msg = f"{folder}: {error if isinstance(error, InputError) else 'plans.json or dataset.json is not complete'}"
        raise InputError(msg) from error
    except RuntimeError as error:  # of nnU-Net's search
        msg = f"{folder / PLANS_JSON}: image_reader_writer names none of nnU-Net's readers; {_STOCK}"
        raise InputError(msg) from error
    if sorted(channels) != list(range(len(channels))):
        msg = f"{folder / DATASET_JSON}: channel_names must be numbered from 0; got {', '.join(map(str, channels))}"
        raise InputError(msg)
    if reader not in READERS:
        msg = f"{folder / PLANS_JSON}: its images were read by {reader}, which does not read NIfTI; {_STOCK}"
        raise InputError(msg)


def checkpoint_files(folder: Path, folds: Sequence[int | str] | None, checkpoint: str) -> dict[str, Path]:
    """Return the checkpoint of each fold; see `load_model`.

    Raises:
        InputError: a fold that was asked for, or every fold, has none.
    """
    check_model_folder(folder)
    available = available_folds(folder, checkpoint)
    wanted = (
        [str(fold) for fold in folds]
        if folds is not None
        else [name for name in available if name.isdigit()] or available
    )
    missing = [fold for fold in wanted if fold not in available]
    if wanted and not missing:
        if folds is None:
            _warn_of_left_out(folder, wanted, checkpoint)
        return {fold: fold_folder(folder, fold) / checkpoint for fold in wanted}
    others = {name: available_folds(folder, name) for name in (FINAL, SAFE_FINAL, BEST, BEST_LOSS, AVERAGED)}
    there = [f"{name} in fold {', '.join(names)}" for name, names in others.items() if names]
    where = f"fold {', '.join(missing)}" if missing else "any fold"
    found = " and ".join(there) or "no checkpoint at all: train first"
    msg = f"{folder}: no {checkpoint} in {where}; found {found}"
    raise InputError(msg)


def _warn_of_left_out(folder: Path, wanted: Sequence[str], checkpoint: str) -> None:
    """Say which trained folds do not take part because they lack this checkpoint."""
    others = [fold for fold in available_folds(folder) if fold.isdigit() and fold not in wanted]
    if others:
        LOG.warning("%s: fold %s has no %s and is left out", folder, ", ".join(others), checkpoint)


def _origin(file: Path, checkpoint: Checkpoint) -> tuple[str, str, tuple[int, ...]]:
    """Return trainer, configuration and mirror axes of a checkpoint."""
    try:
        axes = tuple(int(axis) for axis in checkpoint.get("inference_allowed_mirroring_axes") or ())
        origin = (str(checkpoint["trainer_name"]), str(checkpoint["init_args"]["configuration"]), axes)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        msg = f"{file}: does not say which trainer and configuration it is of; is it of nnU-Net v2?"
        raise InputError(msg) from error
    if not set(axes) <= {0, 1, 2} or len(set(axes)) < len(axes):
        msg = f"{file}: mirrors axes {axes}, and a volume has 0, 1 and 2; give the file as training wrote it"
        raise InputError(msg)
    return origin


def _agreed(origins: Mapping[Path, tuple[str, str, tuple[int, ...]]]) -> tuple[str, str, tuple[int, ...]]:
    """Return the origin that all checkpoints share."""
    first, *others = origins
    for other in others:
        if origins[other] != origins[first]:
            msg = f"{other}: is of another trainer or configuration than {first}; name folds that belong together: -f"
            raise InputError(msg)
    return origins[first]


def _plans(
    folder: Path, in_folder: Mapping[str, Any], trained: Mapping[Path, Mapping[str, Any] | None], configuration: str
) -> Mapping[str, Any]:
    """Return the plans to predict with: ``plans.json``; if the checkpoints say otherwise, theirs, tuned as it is.

    Raises:
        InputError: the folds were trained with different ones.
    """
    known = {file: plans for file, plans in trained.items() if plans is not None}
    if not known:
        return in_folder
    first, plans = next(iter(known.items()))
    for file, others in known.items():
        if changed := _changed(plans, others, configuration):
            msg = (
                f"{file}: was trained with another {', '.join(changed)} than {first}; predict with one of these folds "
                "(-f), and train the other again"
            )
            raise InputError(msg)
    changed = _changed(plans, in_folder, configuration)
    if not changed:
        return in_folder
    LOG.warning(
        "%s: has another %s than %s was trained with; that of the checkpoint is used (nnUNetv2_predict would not)",
        folder / PLANS_JSON, ", ".join(changed), first,
    )  # fmt: skip
    return {**plans, **({PLANS_SECTION: in_folder[PLANS_SECTION]} if PLANS_SECTION in in_folder else {})}


def _changed(trained: Mapping[str, Any], plans: Mapping[str, Any], configuration: str) -> list[str]:
    try:
        return changed_settings(trained, plans, configuration)
    except (InputError, LookupError, AttributeError, TypeError):
        return []  # damaged plans, of which more is said elsewhere


def _configuration(folder: Path, plans: PlansManager, name: str) -> ConfigurationManager:
    try:
        configuration = plans.get_configuration(name)
        dimensions, named = len(configuration.patch_size), named_layers(configuration)
    except Exception as error:  # damaged plans make nnU-Net raise anything
        msg = (
            f"{folder / PLANS_JSON}: has no whole configuration {name}, which the checkpoint is of; give the "
            "plans.json of the training that wrote the checkpoint"
        )
        raise InputError(msg) from error
    if dimensions != 3:
        msg = f"{folder}: its configuration {name} is {dimensions}-D, not 3-D; {_STOCK}"
        raise InputError(msg)
    if configuration.previous_stage_name:
        msg = f"{folder}: {name} is the second stage of a cascade; {_STOCK}"
        raise InputError(msg)
    check_named_layers(folder / PLANS_JSON, named, _STOCK)
    return configuration
