"""A trained model: which files hold it, and everything that prediction needs of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import Tensor, nn

from nnunet_resunet_ds.base.dataset_json import regions_of
from nnunet_resunet_ds.base.errors import InputError, first_line
from nnunet_resunet_ds.base.model_id import fold_folder
from nnunet_resunet_ds.base.regions import Region
from nnunet_resunet_ds.compute.format_choice import InputSize
from nnunet_resunet_ds.plans import has_salient_channel
from nnunet_resunet_ds.training.checkpoint.checkpoint_content import weights_identity
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import (
    FINAL,
)
from nnunet_resunet_ds.training.trainer_class import trainer_class

DROPOUT_TRAINER = "ResUNetDSTrainerModalityDropout"


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
        return reader_name(self.plans)

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


def reader_name(plans: PlansManager) -> str:
    """Return the name of nnU-Net's class that reads the images of these plans."""
    name: str = plans.image_reader_writer_class().__class__.__name__
    return name
