"""List the functions of nnU-Net that we rely on, and report those whose signature has changed."""

import inspect
import pydoc
from collections.abc import Mapping

from nnunet_resunet_ds.doctor import FAIL, OK, Finding

_TRAINER = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer.nnUNetTrainer"
_LOGGER = "nnunetv2.training.logging.nnunet_logger.MetaLogger"
_PLANS = "nnunetv2.utilities.plans_handling.plans_handler"
_SLIDING_WINDOW = "nnunetv2.inference.sliding_window_prediction"
_PREPROCESSING = "nnunetv2.preprocessing"

RELIED_ON: Mapping[str, str] = {
    f"{_TRAINER}.__init__": "self plans configuration fold dataset_json device",
    f"{_TRAINER}.initialize": "self",
    f"{_TRAINER}.build_network_architecture": (
        "plans_manager configuration_manager num_input_channels num_output_channels enable_deep_supervision"
    ),
    f"{_TRAINER}.configure_optimizers": "self",
    f"{_TRAINER}._do_i_compile": "self",
    f"{_TRAINER}._get_deep_supervision_scales": "self",
    f"{_TRAINER}._build_loss": "self",
    f"{_TRAINER}.set_deep_supervision_enabled": "self enabled",
    f"{_TRAINER}.do_split": "self",
    f"{_TRAINER}.get_dataloaders": "self",
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
    "nnunetv2.training.loss.dice.get_tp_fp_fn_tn": "net_output gt axes mask square",
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
