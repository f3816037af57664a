"""Ask nnU-Net's trainer for its transforms, and make its loaders for augmentation on the device."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

from nnunet_resunet_ds.training.augmentation.crop_loader import CropLoader

if TYPE_CHECKING:  # its import takes seconds
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

Batches = Iterator[dict[str, Any]]
LEAST_QUEUED, LEAST_QUEUED_VALIDATION = 6, 3
"""Batches that wait in a queue at least: nnU-Net's."""
WAIT_SECONDS = 0.002
"""Between looks at a queue: nnU-Net's."""


def training_transforms(trainer: "nnUNetTrainer") -> Any:  # noqa: ANN401 (batchgeneratorsv2 has no types)
    """Return what the trainer would have its loading processes do with each training sample."""
    rotation, dummy_2d, _, mirror_axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    return trainer.get_training_transforms(
        trainer.configuration_manager.patch_size,
        rotation,
        trainer._get_deep_supervision_scales(),
        mirror_axes,
        dummy_2d,
        use_mask_for_norm=trainer.configuration_manager.use_mask_for_norm,
        **_about_labels(trainer),
    )


def crop_loaders(trainer: "nnUNetTrainer") -> tuple[Batches, Batches]:
    """Return running loaders of training and validation batches.

    They are nnU-Net's ``get_dataloaders`` but for `CropLoader`, which it has no way to be given.
    """
    _, _, box, _ = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    training_cases, validation_cases = trainer.get_tr_and_val_datasets()
    validation_transforms = trainer.get_validation_transforms(
        trainer._get_deep_supervision_scales(), **_about_labels(trainer)
    )
    training = CropLoader(training_cases, **_sampling(trainer, box))
    patch = trainer.configuration_manager.patch_size
    validation = nnUNetDataLoader(validation_cases, **_sampling(trainer, patch), transforms=validation_transforms)
    n = get_allowed_n_proc_DA()
    loaders = (
        _in_processes(training, trainer, n, max(LEAST_QUEUED, n // 2)),
        _in_processes(validation, trainer, n and max(1, n // 2), max(LEAST_QUEUED_VALIDATION, n // 4)),
    )
    for loader in loaders:
        next(loader)  # starts the processes, and shows at once whether they can read the data
    return loaders


def _about_labels(trainer: "nnUNetTrainer") -> dict[str, Any]:
    """Return what both kinds of transforms are told about labels."""
    labels = trainer.label_manager
    return {
        "is_cascaded": trainer.is_cascaded,
        "foreground_labels": labels.foreground_labels,
        "regions": labels.foreground_regions if labels.has_regions else None,
        "ignore_label": labels.ignore_label,
    }


def _sampling(trainer: "nnUNetTrainer", box: Sequence[int]) -> dict[str, Any]:
    """Return arguments of nnU-Net's loader that cuts boxes of this size."""
    return {
        "batch_size": trainer.batch_size,
        "patch_size": box,
        "final_patch_size": trainer.configuration_manager.patch_size,
        "label_manager": trainer.label_manager,
        "oversample_foreground_percent": trainer.oversample_foreground_percent,
        "probabilistic_oversampling": trainer.probabilistic_oversampling,
    }


def _in_processes(loader: nnUNetDataLoader, trainer: "nnUNetTrainer", n_processes: int, n_queued: int) -> Batches:
    """Return the batches of a loader that runs in processes of its own, or in this one where there are to be none."""
    if n_processes == 0:
        in_this_process: Batches = SingleThreadedAugmenter(loader, None)
        return in_this_process
    in_processes: Batches = NonDetMultiThreadedAugmenter(
        loader,
        None,
        n_processes,
        num_cached=n_queued,
        pin_memory=trainer.device.type == "cuda",
        wait_time=WAIT_SECONDS,
    )
    return in_processes
