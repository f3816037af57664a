"""List the functions of nnU-Net that we rely on, and report those whose signature has changed."""

import inspect
import pydoc
from collections.abc import Mapping

from nnunet_resunet_ds.doctor import FAIL, OK, Finding

_TRAINER = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer.nnUNetTrainer"
_LOGGER = "nnunetv2.training.logging.nnunet_logger.MetaLogger"
_LOADER = "nnunetv2.training.dataloading.data_loader.nnUNetDataLoader"
_PLANS = "nnunetv2.utilities.plans_handling.plans_handler"
_SLIDING_WINDOW = "nnunetv2.inference.sliding_window_prediction"
_PREPROCESSING = "nnunetv2.preprocessing"
_TRANSFORMS = "batchgeneratorsv2.transforms"

RELIED_ON: Mapping[str, str] = {
    f"{_TRAINER}.__init__": "self plans configuration fold dataset_json device",
    f"{_TRAINER}.initialize": "self",
    f"{_TRAINER}.build_network_architecture": (
        "plans_manager configuration_manager num_input_channels num_output_channels enable_deep_supervision"
    ),
    f"{_TRAINER}.configure_optimizers": "self",
    f"{_TRAINER}._do_i_compile": "self",
    f"{_TRAINER}._get_deep_supervision_scales": "self",
    f"{_TRAINER}._set_batch_size_and_oversample": "self",
    f"{_TRAINER}._build_loss": "self",
    f"{_TRAINER}.set_deep_supervision_enabled": "self enabled",
    f"{_TRAINER}.do_split": "self",
    f"{_TRAINER}.get_dataloaders": "self",
    f"{_TRAINER}.configure_rotation_dummyDA_mirroring_and_inital_patch_size": "self",
    f"{_TRAINER}.get_training_transforms": (
        "patch_size rotation_for_DA deep_supervision_scales mirror_axes do_dummy_2d_data_aug use_mask_for_norm "
        "is_cascaded foreground_labels regions ignore_label"
    ),
    f"{_TRAINER}.get_validation_transforms": (
        "deep_supervision_scales is_cascaded foreground_labels regions ignore_label"
    ),
    f"{_TRAINER}.get_tr_and_val_datasets": "self",
    f"{_TRAINER}.run_training": "self",
    f"{_TRAINER}.on_train_start": "self",
    f"{_TRAINER}.on_epoch_start": "self",
    f"{_TRAINER}.on_train_epoch_start": "self",
    f"{_TRAINER}.train_step": "self batch",
    f"{_TRAINER}.on_train_epoch_end": "self train_outputs",
    f"{_TRAINER}.on_validation_epoch_start": "self",
    f"{_TRAINER}.validation_step": "self batch",
    f"{_TRAINER}.on_validation_epoch_end": "self val_outputs",
    f"{_TRAINER}.on_epoch_end": "self",
    f"{_TRAINER}.on_train_end": "self",
    f"{_TRAINER}.perform_actual_validation": "self save_probabilities",
    f"{_TRAINER}.save_checkpoint": "self filename",
    f"{_TRAINER}.load_checkpoint": "self filename_or_checkpoint",
    f"{_TRAINER}.print_to_log_file": "self args also_print_to_console add_timestamp",
    f"{_LOADER}.__init__": (
        "self data batch_size patch_size final_patch_size label_manager oversample_foreground_percent "
        "sampling_probabilities pad_sides probabilistic_oversampling transforms"
    ),
    f"{_LOADER}.generate_train_batch": "self",
    f"{_LOADER}.get_bbox": "self data_shape force_fg class_locations overwrite_class verbose",
    "nnunetv2.utilities.default_n_proc_DA.get_allowed_n_proc_DA": "",
    "nnunetv2.training.dataloading.nnunet_dataset.infer_dataset_class": "folder",
    "batchgenerators.dataloading.nondet_multi_threaded_augmenter.NonDetMultiThreadedAugmenter.__init__": (
        "self data_loader transform num_processes num_cached seeds pin_memory wait_time"
    ),
    "batchgenerators.dataloading.single_threaded_augmenter.SingleThreadedAugmenter.__init__": (
        "self data_loader transform"
    ),
    f"{_TRANSFORMS}.spatial.spatial.SpatialTransform.__init__": (
        "self patch_size patch_center_dist_from_border random_crop p_elastic_deform elastic_deform_scale "
        "elastic_deform_magnitude p_synchronize_def_scale_across_axes p_rotation rotation p_rot_per_axis "
        "p_scaling scaling p_synchronize_scaling_across_axes bg_style_seg_sampling mode_seg border_mode_seg "
        "center_deformation mode_image padding_mode_image padding_value_seg padding_value_image align_corners "
        "seg_tiebreak"
    ),
    f"{_TRANSFORMS}.intensity.gaussian_noise.GaussianNoiseTransform.__init__": (
        "self noise_variance p_per_channel synchronize_channels"
    ),
    f"{_TRANSFORMS}.noise.gaussian_blur.GaussianBlurTransform.__init__": (
        "self blur_sigma synchronize_channels synchronize_axes p_per_channel benchmark"
    ),
    f"{_TRANSFORMS}.intensity.brightness.MultiplicativeBrightnessTransform.__init__": (
        "self multiplier_range synchronize_channels p_per_channel"
    ),
    f"{_TRANSFORMS}.intensity.contrast.ContrastTransform.__init__": (
        "self contrast_range preserve_range synchronize_channels p_per_channel"
    ),
    f"{_TRANSFORMS}.spatial.low_resolution.SimulateLowResolutionTransform.__init__": (
        "self scale synchronize_channels synchronize_axes ignore_axes allowed_channels p_per_channel"
    ),
    f"{_TRANSFORMS}.intensity.gamma.GammaTransform.__init__": (
        "self gamma p_invert_image synchronize_channels p_per_channel p_retain_stats"
    ),
    f"{_TRANSFORMS}.spatial.mirroring.MirrorTransform.__init__": "self allowed_axes",
    f"{_TRANSFORMS}.utils.nnunet_masking.MaskImageTransform.__init__": (
        "self apply_to_channels channel_idx_in_seg set_outside_to"
    ),
    f"{_TRANSFORMS}.utils.remove_label.RemoveLabelTransform.__init__": "self label_value set_to segmentation_channels",
    f"{_TRANSFORMS}.utils.seg_to_regions.ConvertSegmentationToRegionsTransform.__init__": "self regions channel_in_seg",
    f"{_TRANSFORMS}.utils.deep_supervision_downsampling.DownsampleSegForDSTransform.__init__": "self ds_scales",
    f"{_TRANSFORMS}.utils.random.RandomTransform.__init__": "self transform apply_probability",
    f"{_LOGGER}.log": "self key value step",
    f"{_LOGGER}.get_value": "self key step",
    f"{_LOGGER}.get_checkpoint": "self",
    f"{_LOGGER}.load_checkpoint": "self checkpoint",
    f"{_PLANS}.PlansManager.get_configuration": "self configuration_name",
    f"{_PLANS}.PlansManager.get_label_manager": "self dataset_json kwargs",
    f"{_PREPROCESSING}.preprocessors.default_preprocessor.DefaultPreprocessor.run_case_npy": (
        "self data seg properties plans_manager configuration_manager dataset_json"
    ),
    f"{_PREPROCESSING}.resampling.default_resampling.compute_new_shape": "old_shape old_spacing new_spacing",
    f"{_SLIDING_WINDOW}.compute_gaussian": "tile_size sigma_scale value_scaling_factor dtype device",
    f"{_SLIDING_WINDOW}.compute_steps_for_sliding_window": "image_size tile_size tile_step_size",
    "nnunetv2.training.loss.deep_supervision.DeepSupervisionWrapper.__init__": "self loss weight_factors",
    "nnunetv2.training.lr_scheduler.polylr.PolyLRScheduler.__init__": (
        "self optimizer initial_lr max_steps exponent current_step"
    ),
    "nnunetv2.utilities.collate_outputs.collate_outputs": "outputs",
    "nnunetv2.utilities.find_objects.recursive_find_trainer_class_by_name": "trainer_name",
    "nnunetv2.utilities.get_network_from_plans.get_network_from_plans": (
        "arch_class_name arch_kwargs arch_kwargs_req_import input_channels output_channels allow_init deep_supervision"
    ),
    "nnunetv2.utilities.label_handling.label_handling.determine_num_input_channels": (
        "plans_manager configuration_or_config_manager dataset_json"
    ),
}
"""Dotted name → names of its parameters, in order."""


def internals() -> Finding:
    """Compare the signatures in the installed nnU-Net with those that we rely on."""
    changes = changed_internals()
    if changes:
        remedy = "install the nnunetv2 that pip chooses with this package, in a fresh environment"
        return Finding(FAIL, "nnU-Net", "; ".join(changes), remedy)
    return Finding(OK, "nnU-Net", f"all {len(RELIED_ON)} functions that we rely on are as they were")


def changed_internals(relied_on: Mapping[str, str] = RELIED_ON) -> list[str]:
    """Return a line for each function that the installed nnU-Net lacks, or has with other parameters."""
    return [line for name, expected in relied_on.items() if (line := _change(name, expected))]


def _change(name: str, expected: str) -> str | None:
    found = pydoc.locate(name)
    if not callable(found):
        return f"{name} is gone"
    parameters = " ".join(inspect.signature(found).parameters)
    return None if parameters == expected else f"{name} takes ({parameters}) instead of ({expected})"
