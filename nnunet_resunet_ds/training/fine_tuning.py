"""Plan a training that starts from the weights of a trained model: the same network, on another dataset."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dataset_conversion.editions import FILE_ENDING
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.model_id import CONFIGURATION
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS_JSON, dataset_folder
from nnunet_resunet_ds.base.splits_file import noted_cases
from nnunet_resunet_ds.plans import (
    NETWORK_CLASS_NAME,
    PAPER_BATCH_SIZE,
    AdaptedPlans,
    resolved_configuration,
    with_network_of,
)
from nnunet_resunet_ds.training.checkpoints import (
    FINAL,
    FOLD,
    Checkpoint,
    available_folds,
    checkpoint_name,
    plans_of,
    read_checkpoint,
    write_checkpoint,
)
from nnunet_resunet_ds.training.plan_writing import (
    DEFAULT_NAME,
    check_plan_settings,
    check_regions_and_weights,
    stock_plans,
    write_plans,
)
from nnunet_resunet_ds.training.preprocessed_data import REFERENCES
from nnunet_resunet_ds.training.recipe import SECTION

PRETRAINED_ENDING = "_pretrained.pth"
"""After the name of the plans: the weights to start from, as ``nnUNetv2_train -pretrained_weights`` takes them."""


class FineTuning(NamedTuple):
    """What was written for a training from the weights of a model."""

    plans: Path
    weights: Path
    notes: list[str]
    """Lines for the user."""


def plan_fine_tuning(
    dataset_id: int,
    model: Path,
    *,
    stock_name: str,
    name: str = DEFAULT_NAME,
    configuration: str = CONFIGURATION,
    patch_size: Sequence[int] | None = None,
    batch_size: int = PAPER_BATCH_SIZE,
    recipe: Mapping[str, Any] | None = None,
) -> FineTuning:
    """Write plans with the network of a trained model, and its weights, into ``$nnUNet_preprocessed/DatasetXXX_NAME``.

    The weights are those of its first fold. The output layers are not taken, as always in nnU-Net, so the regions may
    be others.

    Args:
        dataset_id: of a dataset that nnUNetv2_plan_and_preprocess has seen.
        model: folder of a trained `ResUNetDS`.
        stock_name: of the plans to start from; their preprocessed data is used.
        name: of the new plans.
        configuration: which configuration is trained.
        patch_size: voxels (Z, Y, X); None is the model's.
        batch_size: patches a step.
        recipe: fields of `Recipe` to train differently from the paper.

    Raises:
        InputError: no such dataset, plans or model, or they do not fit each other.
    """
    check_plan_settings(name, stock_name, batch_size)
    folder = dataset_folder("nnUNet_preprocessed", dataset_id)
    stock = stock_plans(dataset_id, stock_name, configuration)
    dataset_json = read_json(folder / DATASET_JSON)
    check_regions_and_weights(dataset_json, recipe)
    checkpoint = _first_fold(model)
    trained = _trained_settings(model, checkpoint)
    _check_channels(model, folder, dataset_json)
    adapted = with_network_of(
        trained,
        stock,
        configuration,
        patch_size=patch_size,
        batch_size=batch_size,
        recipe=recipe,
    )
    notes = [
        *adapted.notes,
        *_spacing_note(trained, adapted, configuration, dataset_id),
        *_shared_cases(folder, checkpoint),
    ]
    weights = folder / f"{name}{PRETRAINED_ENDING}"
    path = write_plans(folder, name, configuration, adapted.plans)
    write_checkpoint({"network_weights": checkpoint["network_weights"]}, weights)
    return FineTuning(path, weights, notes)


def _first_fold(model: Path) -> Checkpoint:
    name = checkpoint_name(model, FINAL)
    folds = available_folds(model, name)
    if not folds:
        msg = f"{model}: no fold has {FINAL}; give the folder of a trained model, TRAINER__PLANS__CONFIGURATION"
        raise InputError(msg)
    return read_checkpoint(model / f"{FOLD}{folds[0]}" / name)


def _trained_settings(model: Path, checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Return the resolved configuration that the weights were trained with: as they note it, else plans.json."""
    plans = plans_of(checkpoint) or read_json(model / PLANS_JSON)
    settings = resolved_configuration(plans, checkpoint["init_args"]["configuration"])
    network = settings["architecture"]["network_class_name"]
    if network != NETWORK_CLASS_NAME:
        msg = f"{model}: is of the network {network}; only models of ResUNetDS can be trained on with these plans"
        raise InputError(msg)
    return settings


def _check_channels(model: Path, dataset: Path, dataset_json: Mapping[str, Any]) -> None:
    """Refuse channels in another order: the first layer would take one sequence for another."""
    contents = (read_json(model / DATASET_JSON), dataset_json)
    trained, own = (list(content["channel_names"].values()) for content in contents)
    if trained != own:
        msg = (
            f"{dataset / DATASET_JSON}: has the channels {', '.join(own)}, and the model was trained on "
            f"{', '.join(trained)}; make the dataset with these, in this order"
        )
        raise InputError(msg)


def _spacing_note(trained: Mapping[str, Any], adapted: AdaptedPlans, configuration: str, dataset_id: int) -> list[str]:
    own = resolved_configuration(adapted.plans, configuration)["spacing"]
    if np.allclose(own, trained["spacing"], rtol=0.1):
        return []
    mm = " ".join(f"{axis:g}" for axis in trained["spacing"])
    return [
        f"The weights are of images of {mm} mm, and this data has {' '.join(f'{axis:g}' for axis in own)}. For theirs, "
        f"preprocess with: nnUNetv2_plan_and_preprocess -d {dataset_id} -c {configuration} "
        f"-overwrite_target_spacing {mm} -overwrite_plans_name NAME, and give -p NAME."
    ]


def _shared_cases(dataset: Path, checkpoint: Checkpoint) -> list[str]:
    """Name cases on which the model was trained: validation of them would look better than it is."""
    noted = noted_cases(checkpoint.get(SECTION) or {})
    own = {file.name.removesuffix(FILE_ENDING) for file in (dataset / REFERENCES).glob(f"*{FILE_ENDING}")}
    shared = sorted(own & set(noted.train if noted else ()))
    if not shared:
        return []
    return [
        f"{len(shared)} cases of this dataset, such as {shared[0]}, are training cases of the model: Dice of them in "
        "validation says nothing of new cases."
    ]
