"""Write our plans file next to the stock one, for the same preprocessed data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.configurations import changed_settings
from nnunet_resunet_ds.base.dataset_json import check_region_weights, check_regions
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json, write_json
from nnunet_resunet_ds.base.log import warn_each
from nnunet_resunet_ds.base.model_id import CONFIGURATION, TRAINER, begun_folds, folder_name, models_in
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS, PLANS_JSON, dataset_folder, nnunet_folder
from nnunet_resunet_ds.base.setting_checks import check_name, check_whole_number
from nnunet_resunet_ds.plans import MAX_HEADS, PAPER_BATCH_SIZE, PAPER_FEATURES
from nnunet_resunet_ds.training.planning.adapted_plans import AdaptedPlans, with_res_unet_ds
from nnunet_resunet_ds.training.planning.plans_file import read_plans
from nnunet_resunet_ds.training.planning.recipe import Recipe, recipe_notes

DEFAULT_NAME = "nnUNetResUNetDSPlans"
"""Of our plans, unless another is given."""


def plan(
    dataset_id: int,
    *,
    name: str = DEFAULT_NAME,
    stock_name: str = PLANS,
    configuration: str = CONFIGURATION,
    patch_size: Sequence[int] | None = None,
    batch_size: int = PAPER_BATCH_SIZE,
    features_per_stage: Sequence[int] = PAPER_FEATURES,
    n_heads: int = MAX_HEADS,
    salient_channel: bool = True,
    residual: bool = True,
    recipe: Mapping[str, Any] | None = None,
) -> tuple[Path, AdaptedPlans]:
    """Write ``$nnUNet_preprocessed/DatasetXXX_NAME/<name>.json``; return its path, and the plans with notes on them.

    Args:
        dataset_id: of a dataset that nnUNetv2_plan_and_preprocess has seen.
        name: of the new plans, as ``-p`` takes it.
        stock_name: of the plans to start from; their preprocessed data is used.
        configuration: which configuration trains our network.
        patch_size: see `with_res_unet_ds`, as for all that follows.
        batch_size: patches a step, at least 1.
        features_per_stage: channels of each encoder stage.
        n_heads: deep-supervision heads, the output included.
        salient_channel: whether the network reads the brain mask, where a zero background marks the brain.
        residual: whether its blocks are residual.
        recipe: fields of `Recipe` to train differently from the paper.

    Raises:
        InputError: no such dataset or plans, or settings that cannot be.
    """
    check_plan_settings(name, stock_name, batch_size)
    folder = dataset_folder("nnUNet_preprocessed", dataset_id)
    stock = read_plans(dataset_id, stock_name, configuration)
    check_regions_and_weights(read_json(folder / DATASET_JSON), recipe)
    adapted = with_res_unet_ds(
        stock,
        configuration,
        patch_size=patch_size,
        batch_size=batch_size,
        features_per_stage=features_per_stage,
        n_heads=n_heads,
        salient_channel=salient_channel,
        residual=residual,
        recipe=recipe,
    )
    return write_plans(folder, name, configuration, adapted.plans), adapted


def check_plan_settings(name: str, stock_name: str, batch_size: int) -> None:
    """Refuse settings of new plans that cannot be.

    Args:
        name: of the plans.
        stock_name: of those to start from.
        batch_size: patches a step.

    Raises:
        InputError: naming what is wrong.
    """
    check_name("the name of the plans", name)
    check_whole_number("the batch size", batch_size, at_least=1)
    if name == stock_name:
        msg = f"the new plans would overwrite {stock_name}; choose another --name"
        raise InputError(msg)


def check_regions_and_weights(dataset_json: Mapping[str, Any], recipe: Mapping[str, Any] | None) -> None:
    """Refuse a dataset of plain labels, and weights of other regions than it has.

    Raises:
        InputError: naming what is wrong.
    """
    check_regions(dataset_json)
    check_region_weights(Recipe.from_section(recipe or {}).region_weights, dataset_json)


def write_plans(folder: Path, name: str, configuration: str, plans: dict[str, Any]) -> Path:
    """Write plans under their name into a preprocessed dataset; return the file.

    Args:
        folder: of the dataset.
        name: of the plans.
        configuration: which they are made for.
        plans: to write.

    Raises:
        InputError: a model was trained with plans of this name and another network.
    """
    plans["plans_name"] = name
    _check_not_in_use(folder.name, name, configuration, plans)
    path = folder / f"{name}.json"
    write_json(plans, path)
    return path


def _check_not_in_use(dataset: str, name: str, configuration: str, plans: Mapping[str, Any]) -> None:
    """Refuse to change the patch, the network or the start of plans that a model was trained with.

    Raises:
        InputError: naming the model.
    """
    try:
        results = nnunet_folder("nnUNet_results") / dataset
    except InputError:
        return  # without results there is no model
    from nnunet_resunet_ds.training.checkpoint.pretrained import check_same_start, pretrained_of  # noqa: PLC0415 (seconds)

    for model in models_in(results, plans=name, configuration=configuration):
        if not begun_folds(model) or not (model / PLANS_JSON).is_file():
            continue
        trained = read_json(model / PLANS_JSON)
        changed = changed_settings(trained, plans, configuration)
        if model.name != folder_name(TRAINER, name, configuration) and "architecture" in changed:
            changed.remove("architecture")  # which other trainers change by themselves
        if changed:
            msg = (
                f"{model}: was trained with plans {name} of another {', '.join(changed)}; give the new plans another "
                "name with --name, start from the stock plans of that model with -p, or move that model away"
            )
            raise InputError(msg)
        check_same_start(model, pretrained_of(trained), plans)
        if model.name == folder_name(TRAINER, name, configuration):  # others have defaults of their own
            warn_each(recipe_notes(f"{model}: its latest fold", trained, plans))
