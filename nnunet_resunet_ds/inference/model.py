"""A trained model, read from its nnU-Net folder without running anything that the files may hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import Tensor, nn

from nnunet_resunet_ds.base.configurations import changed_settings
from nnunet_resunet_ds.base.errors import InputError, first_line
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.model_id import check_model_folder, fold_folder
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS_JSON
from nnunet_resunet_ds.base.reader_space import READERS
from nnunet_resunet_ds.base.region_checks import check_regions, regions_of
from nnunet_resunet_ds.base.regions import Region
from nnunet_resunet_ds.compute.format_choice import InputSize
from nnunet_resunet_ds.inference.named_layers import check_named_layers, named_layers
from nnunet_resunet_ds.plans import has_salient_channel
from nnunet_resunet_ds.training.checkpoint_content import cases_of, check_weights_fit, plans_of, weights_identity
from nnunet_resunet_ds.training.checkpoint_names import (
    AVERAGED,
    BEST,
    BEST_LOSS,
    FINAL,
    SAFE_FINAL,
    available_folds,
    checkpoint_name,
)
from nnunet_resunet_ds.training.checkpoints import Checkpoint, read_checkpoint
from nnunet_resunet_ds.training.pretrained import pretrained_of
from nnunet_resunet_ds.training.recipe import SECTION
from nnunet_resunet_ds.training.trainer_class import trainer_class

DROPOUT_TRAINER = "ResUNetDSTrainerModalityDropout"
_STOCK = "predict with nnUNetv2_predict instead"


@dataclass(frozen=True)
class ModelFiles:
    """Which files hold a model."""

    folder: Path
    """``TRAINER__PLANS__CONFIGURATION``."""
    folds: tuple[str, ...]
    """Names of the folds whose weights are averaged."""
    checkpoint: str = FINAL
    """Name of the weights' file in the folder of each fold."""

    @property
    def checkpoints(self) -> list[Path]:
        """The weights' file of each fold."""
        return [fold_folder(self.folder, fold) / self.checkpoint for fold in self.folds]


@dataclass(frozen=True)
class Model:
    """Everything that prediction needs of a trained model."""

    folder: Path
    plans: PlansManager
    configuration: ConfigurationManager
    dataset_json: Mapping[str, Any]
    trainer_name: str
    weights: Mapping[str, Mapping[str, Tensor]]
    """State dict of each fold, by its name."""
    checkpoint: str
    """Name of the file that the weights are from."""
    mirror_axes: tuple[int, ...]
    """Of (Z, Y, X) in the network's axis order: those that training mirrored."""
    training_cases: frozenset[str] = frozenset()
    """Ids of the cases that any of the weights was trained on, or started from weights that were, as far as noted."""
    knows_absent_channels: bool = False
    """Whether the training of each fold left channels out at random."""

    @property
    def files(self) -> ModelFiles:
        """Where the model was read from, wherever the process works."""
        return ModelFiles(self.folder.resolve(), tuple(self.weights), self.checkpoint)

    @cached_property
    def identities(self) -> dict[str, str]:
        """Of the weights of each fold; a few tenths of a second for the paper's network, where they are asked for."""
        return {fold: weights_identity(values) for fold, values in self.weights.items()}

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the input channels, in order."""
        names = self.dataset_json["channel_names"]
        return tuple(str(names[key]) for key in sorted(names, key=int))

    @property
    def reader(self) -> str:
        """Name of the class of nnU-Net that read its training images."""
        return _reader(self.plans)

    @property
    def n_regions(self) -> int:
        """Outputs of the network."""
        return len(self.dataset_json["regions_class_order"])

    @property
    def regions(self) -> tuple[Region, ...]:
        """Name and label values of each region, in the order of the outputs; see `regions_of`."""
        return regions_of(self.dataset_json)

    @property
    def patch_size(self) -> tuple[int, ...]:
        """Voxels (Z, Y, X) that it was trained on, in the network's axis order."""
        return tuple(self.configuration.patch_size)

    @property
    def tile(self) -> InputSize:
        """Size of one input of the network, and the strides of its stages."""
        strides = self.configuration.network_arch_init_kwargs.get("strides")
        return InputSize((1, len(self.channels), *self.patch_size), strides)

    @property
    def has_salient_channel(self) -> bool:
        """Whether the network reads the brain mask off the zero background (decision D4)."""
        return has_salient_channel(self.configuration.configuration["architecture"])

    @property
    def is_of_stripped_heads(self) -> bool:
        """Whether zeros lay around the brain in training, as nnU-Net found when it planned the normalisation."""
        return any(self.configuration.use_mask_for_norm)

    def build_network(self) -> nn.Module:
        """Return the network, whose output is the logits of the finest head alone; its weights are not of any fold.

        Raises:
            InputError: there is no such trainer here, or the plans do not describe a network.
        """
        try:
            n_inputs = determine_num_input_channels(self.plans, self.configuration, self.dataset_json)
            n_outputs = self.plans.get_label_manager(self.dataset_json).num_segmentation_heads
            network: nn.Module = trainer_class(self.trainer_name).build_network_architecture(
                self.plans, self.configuration, n_inputs, n_outputs, enable_deep_supervision=False
            )
        except Exception as error:  # damaged plans make a network raise anything
            msg = (
                f"{self.folder}: the network of trainer {self.trainer_name} cannot be built ({first_line(error)}); "
                "install what this trainer is part of (resunet-ds doctor says what is found), or restore plans.json"
            )
            raise InputError(msg) from error
        return network.eval()


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
        folder,
        plans,
        configuration,
        dataset_json,
        trainer_name,
        weights,
        checkpoint,
        mirror_axes,
        frozenset(training_cases),
        all(_leaves_channels_out(own or plans.plans) for own in trained_with.values()),
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
        reader = _reader(plans)
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


def _reader(plans: PlansManager) -> str:
    name: str = plans.image_reader_writer_class().__class__.__name__
    return name


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
    """Return the plans to predict with: ``plans.json``, or those of the checkpoints where it is not what these say.

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
    return plans


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
