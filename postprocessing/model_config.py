"""Which post-processing belongs to a model: what was tuned for it travels in its folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json, write_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.nnunet_folders import PLANS_JSON
from nnunet_resunet_ds.base.regions import ET, REGIONS
from postprocessing.config import PostprocessingConfig

SETTINGS_FILE = "postprocessing.json"
PLANS_SECTION = "resunet_ds_postprocessing"
"""Of plans.json, the one file of a model folder that nnU-Net's model zip and its predictions both carry."""


def config_of_model(folder: Path) -> PostprocessingConfig:
    """Return what ``postprocessing.json`` of a model folder says, else its ``plans.json``, else the paper's settings.

    Raises:
        InputError: the settings there are damaged or out of range.
    """
    file = folder / SETTINGS_FILE
    if not file.is_file():
        return config_of_predictions(folder)
    config = PostprocessingConfig.from_json(file)
    plans = folder / PLANS_JSON
    if plans.is_file() and config_of_predictions(folder) != config:
        LOG.warning(
            "%s: differs from what %s says, which nnUNetv2_predict hands on; the former is used here. To have one of "
            "them, tune again, or write the settings into both", file, plans,
        )  # fmt: skip
    return config


def config_of_predictions(folder: Path) -> PostprocessingConfig:
    """Return what ``plans.json`` of a folder says, which prediction copies from the model; else the paper's settings.

    Raises:
        InputError: the settings there are damaged or out of range.
    """
    plans = folder / PLANS_JSON
    content = read_json(plans) if plans.is_file() else {}
    if not isinstance(content, dict) or PLANS_SECTION not in content:
        return PostprocessingConfig.paper()
    try:
        return PostprocessingConfig.from_mapping(content[PLANS_SECTION])
    except InputError as error:
        msg = f'{plans}: "{PLANS_SECTION}": {error}'
        raise InputError(msg) from error


def check_config_fits(config: PostprocessingConfig, dataset_json: Mapping[str, Any]) -> None:
    """Refuse settings that the regions of a dataset cannot have.

    Args:
        config: the settings.
        dataset_json: whose regions begin with WT, TC and ET.

    Raises:
        InputError: there are more regions than the settings name; or a further region is part of WT or TC (the cystic
            component of BraTS 2024 PED is), whose components, opening and closing would be counted without it.
    """
    order = dataset_json["regions_class_order"]
    if len(order) > len(REGIONS) + len(config.further):
        msg = f"the model has {len(order)} regions; name those after WT, TC and ET as further regions of the settings"
        raise InputError(msg)
    on = [step.name for step in config.steps if step.is_on and step.region != ET.name]
    if on and has_region_inside_wt(dataset_json):
        msg = f"a further region of the model is part of WT, which {', '.join(on)} would count without it: leave it off"
        raise InputError(msg)


def has_region_inside_wt(dataset_json: Mapping[str, Any]) -> bool:
    """Tell whether a region after WT, TC and ET is part of WT, as the cystic component of BraTS 2024 PED is."""
    further = set(dataset_json["regions_class_order"][len(REGIONS) :])
    whole_tumour = next(labels for name, labels in dataset_json["labels"].items() if name != "background")
    return bool(further & set(whole_tumour))


def notes_on_weights(config: PostprocessingConfig, weights: Mapping[str, str]) -> list[str]:
    """Return a line where settings were tuned on other weights than those that predict.

    Args:
        config: the settings.
        weights: of the model, fold → identity.
    """
    tuned_on = set(dict(config.tuned_on).values())
    others = {fold: identity for fold, identity in weights.items() if identity not in tuned_on}
    if not tuned_on or not others:
        return []
    found, tuned = (_listed(pairs) for pairs in (others, dict(config.tuned_on)))
    return [f"the post-processing was tuned on the weights {tuned}, and these are {found}; tune again: resunet-ds tune"]


def _listed(weights: Mapping[str, str]) -> str:
    return ", ".join(f"{identity} (fold {fold})" for fold, identity in weights.items())


def carry_to_plans(folder: Path) -> None:
    """Write the ``postprocessing.json`` of a model folder, where there is one, into its ``plans.json`` again.

    A training writes ``plans.json`` again; without this, commands that read the one and the other would disagree.

    Raises:
        InputError: the settings there are damaged or out of range.
    """
    if (folder / SETTINGS_FILE).is_file():
        keep_with_model(PostprocessingConfig.from_json(folder / SETTINGS_FILE), folder)


def keep_with_model(config: PostprocessingConfig, folder: Path) -> None:
    """Write settings into a model folder, as ``postprocessing.json`` and into its ``plans.json``."""
    plans = read_json(folder / PLANS_JSON)
    plans[PLANS_SECTION] = config.to_mapping()
    write_json(plans, folder / PLANS_JSON)
    config.to_json(folder / SETTINGS_FILE)
