"""Plan a training that starts from the weights of a trained model: the same network, on another dataset."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nnunet_resunet_ds.base.configurations import resolved_configuration
from nnunet_resunet_ds.base.dataset_json import regions_of
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import FILE_ENDING, read_json, visible_files
from nnunet_resunet_ds.base.model_id import CONFIGURATION, fold_folder
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS_JSON, dataset_folder
from nnunet_resunet_ds.plans import NETWORK_CLASS_NAME, PAPER_BATCH_SIZE
from nnunet_resunet_ds.training.checkpoint.checkpoint_content import cases_of, plain_weights, plans_of, weights_identity
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import FINAL, available_folds, checkpoint_name
from nnunet_resunet_ds.training.checkpoint.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
from nnunet_resunet_ds.training.checkpoint.pretrained import PRETRAINED, Pretrained, pretrained_of
from nnunet_resunet_ds.training.checks.preprocessed_data import REFERENCES
from nnunet_resunet_ds.training.planning.adapted_plans import AdaptedPlans, with_network_of
from nnunet_resunet_ds.training.planning.plan_writing import (
    DEFAULT_NAME,
    check_plan_settings,
    check_regions_and_weights,
    write_plans,
)
from nnunet_resunet_ds.training.planning.plans_file import read_plans

PRETRAINED_ENDING = "_pretrained.pth"
"""After the name of the plans: the weights to start from, as a checkpoint."""
PLANS_OF_THEIR_SPACING = "PlansOfPretrained"
"""Name for the stock plans at the voxel size of the weights, where the data was preprocessed at another."""


class FineTuning(NamedTuple):
    """What was written for a training from the weights of a model."""

    plans: Path
    weights: Path
    notes: list[str]
    """Lines for the user."""
    preprocess: str | None
    """The command that preprocesses at the voxel size that the weights are of; None where the data has it."""


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
    called: str | None = None,
) -> FineTuning:
    """Write plans with the network of a trained model, and its weights, into ``$nnUNet_preprocessed/DatasetXXX_NAME``.

    The weights are those of its first fold. Each training with these plans starts from them. Where the regions are
    others, the output layers start at random.

    Args:
        dataset_id: of a dataset that nnUNetv2_plan_and_preprocess has seen.
        model: folder of a trained `ResUNetDS`.
        stock_name: of the plans to start from; their preprocessed data is used.
        name: of the new plans.
        configuration: which configuration is trained.
        patch_size: voxels (Z, Y, X); None is the model's.
        batch_size: patches a step.
        recipe: fields of `Recipe` to train differently from the paper.
        called: the model in words; None is the name of its folder.

    Raises:
        InputError: no such dataset, plans or model, or they do not fit each other.
    """
    check_plan_settings(name, stock_name, batch_size)
    folder = dataset_folder("nnUNet_preprocessed", dataset_id)
    stock = read_plans(dataset_id, stock_name, configuration)
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
    weights = folder / f"{name}{PRETRAINED_ENDING}"
    pretrained = Pretrained(
        weights.name,
        weights_identity(plain_weights(checkpoint)),
        called or model.name,
        output_layers=_same_outputs(read_json(model / DATASET_JSON), dataset_json),
        cases=_cases_seen(checkpoint, model),
    )
    spacing_note, preprocess = _other_spacing(trained, adapted, configuration, dataset_id)
    notes = [*adapted.notes, *_output_note(pretrained), *spacing_note, *_shared_cases(folder, pretrained)]
    plans = {**adapted.plans, PRETRAINED: pretrained.to_mapping()}
    path = write_plans(folder, name, configuration, plans)
    write_checkpoint({"network_weights": checkpoint["network_weights"]}, weights)
    return FineTuning(path, weights, notes, preprocess)


def _same_outputs(trained: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Tell whether the outputs of a model are the regions of a dataset, in the same order."""
    of_both = [
        [(region.name, region.tissues) for region in regions_of(content)] + [content["labels"].get("ignore")]
        for content in (trained, own)
    ]
    return of_both[0] == of_both[1]


def _output_note(pretrained: Pretrained) -> list[str]:
    if pretrained.output_layers:
        return []
    return [
        "The regions of this dataset are not those of the model, so the output layers start at random. At first the "
        "new model is worse than the one that it starts from."
    ]


def _first_fold(model: Path) -> Checkpoint:
    if not model.is_dir():
        msg = f"{model}: no such folder; give starter, or the folder of a trained model (resunet-ds models lists them)"
        raise InputError(msg)
    name = checkpoint_name(model, FINAL)
    folds = available_folds(model, name)
    if not folds:
        msg = f"{model}: no fold has {FINAL}; give the folder of a trained model, TRAINER__PLANS__CONFIGURATION"
        raise InputError(msg)
    return read_checkpoint(fold_folder(model, folds[0]) / name)


def _cases_seen(checkpoint: Checkpoint, model: Path) -> tuple[str, ...]:
    """Return the cases that weights were trained on, and those of the weights that their own training started from."""
    noted = cases_of(checkpoint)
    earlier = pretrained_of(plans_of(checkpoint) or read_json(model / PLANS_JSON))
    return tuple(dict.fromkeys([*(noted.train if noted else ()), *(earlier.cases if earlier else ())]))


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


def _other_spacing(
    trained: Mapping[str, Any], adapted: AdaptedPlans, configuration: str, dataset_id: int
) -> tuple[list[str], str | None]:
    """Return a line about voxels of another size, and the command that preprocesses at the size of the weights."""
    own = resolved_configuration(adapted.plans, configuration)["spacing"]
    if np.allclose(own, trained["spacing"], rtol=0.1):
        return [], None
    mm = " ".join(f"{axis:g}" for axis in trained["spacing"])
    note = f"The weights are of images of {mm} mm, and this data has {' '.join(f'{axis:g}' for axis in own)} mm."
    preprocess = (
        f"nnUNetv2_plan_and_preprocess -d {dataset_id} -c {configuration} -overwrite_target_spacing {mm} "
        f"-overwrite_plans_name {PLANS_OF_THEIR_SPACING}"
    )
    return [note], preprocess


def _shared_cases(dataset: Path, pretrained: Pretrained) -> list[str]:
    """Name cases on which the model was trained: validation of them would look better than it is."""
    own = {file.name.removesuffix(FILE_ENDING) for file in visible_files(dataset / REFERENCES, FILE_ENDING)}
    shared = sorted(own & set(pretrained.cases))
    if not shared:
        return []
    return [
        f"{len(shared)} of the cases of this dataset, such as {shared[0]}, are training cases of the weights to start "
        "from: Dice of them in validation says nothing of new cases."
    ]
