"""Decide where training batches are augmented."""

from typing import TYPE_CHECKING, NamedTuple

import torch

from nnunet_resunet_ds.base.errors import first_line
from nnunet_resunet_ds.training.augmentation import BY_DEVICE, WORKERS
from nnunet_resunet_ds.training.augmentation.device_augmentation import DeviceAugmentation
from nnunet_resunet_ds.training.augmentation.loaders import training_transforms
from nnunet_resunet_ds.training.augmentation.nnunet_settings import NotOnDeviceError
from nnunet_resunet_ds.training.augmentation.random_numbers import entropy_of_rank
from nnunet_resunet_ds.training.augmentation.translation import Pipeline, pipeline_like

if TYPE_CHECKING:  # its import takes seconds
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

ABLE = ("cuda", "cpu")
"""Types of device whose PyTorch has all that is needed; MPS lacks sampling in 3-D."""
N_TRIALS = 8
"""Samples, of which most transforms get one."""


class Choice(NamedTuple):
    """Where batches are augmented."""

    augmentation: DeviceAugmentation | None
    """On the device; None in the processes that load data, as nnU-Net does."""
    note: str
    """A line for the log."""


def choose_augmentation(trainer: "nnUNetTrainer", wish: str, seed: int | None) -> Choice:
    """Decide for a trainer that is initialised.

    Args:
        trainer: any whose ``get_training_transforms`` may be a variant's own; what has no counterpart on the device
            stays in the processes that load data.
        wish: one of `AUGMENTATIONS`.
        seed: of the recipe.
    """
    device: torch.device = trainer.device
    if wish == WORKERS or (wish == BY_DEVICE and device.type != "cuda"):
        return Choice(None, "Augmentation in the processes that load data.")
    if device.type not in ABLE:
        return Choice(None, f"Augmentation in the processes that load data, for {device} is not able to do it.")
    labels = [*trainer.label_manager.all_labels, trainer.label_manager.ignore_label]
    try:
        pipeline = pipeline_like(training_transforms(trainer), [int(label) for label in labels if label is not None])
    except NotOnDeviceError as error:
        return Choice(None, f"Augmentation in the processes that load data, for it has no counterpart on it: {error}.")
    if wish == BY_DEVICE and (fault := _fault(pipeline, device, trainer.num_input_channels)):
        return Choice(None, f"Augmentation in the processes that load data, for {device} fails at it: {fault}.")
    entropy = entropy_of_rank(seed, trainer.local_rank)
    return Choice(DeviceAugmentation(pipeline, device, entropy), f"Augmentation on {device}.")


def _fault(pipeline: Pipeline, device: torch.device, n_channels: int) -> str | None:
    """Augment some made-up crops; return what the device says against it, None for nothing."""
    shape = pipeline.spatial.patch_size
    image, segmentation = torch.ones(n_channels, *shape), torch.zeros(1, *shape, dtype=torch.int16)
    centre = [size / 2 for size in shape]
    try:
        DeviceAugmentation(pipeline, device, [0])([image] * N_TRIALS, [segmentation] * N_TRIALS, [centre] * N_TRIALS)
    except torch.OutOfMemoryError:
        return None  # a batch is smaller; if not even that fits, training says so
    except RuntimeError as error:
        return first_line(error)
    return None
