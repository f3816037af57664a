"""Which post-processing belongs to a model: what was tuned for it travels in its folder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.dataset_json import has_tumour_regions, read_dataset_json, regions_of
from nnunet_resunet_ds.base.errors import InputError, said_of
from nnunet_resunet_ds.base.files import read_json, read_json_in_turn, write_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.nnunet_folders import PLANS_JSON
from nnunet_resunet_ds.base.regions import REGIONS, TC, WT
from postprocessing.config import PostprocessingConfig
from postprocessing.further_region import further_regions

SETTINGS_FILE = "postprocessing.json"
PLANS_SECTION = "resunet_ds_postprocessing"
"""Of plans.json, the one file of a model folder that nnU-Net's model zip and its predictions both carry."""


def config_of_model(folder: Path) -> PostprocessingConfig:
    """Return what ``postprocessing.json`` of a model folder says, else its ``plans.json``, else `default_config`.

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
    """Return what ``plans.json`` of a folder says, which prediction copies from the model; else `default_config`.

    Raises:
        InputError: the settings there are damaged or out of range.
    """
    plans = folder / PLANS_JSON
    content = read_json(plans) if plans.is_file() else {}
    if not isinstance(content, dict) or PLANS_SECTION not in content:
        return default_config(read_dataset_json(folder))
    with said_of(f'{plans}: "{PLANS_SECTION}"'):
        return PostprocessingConfig.from_mapping(content[PLANS_SECTION])


def default_config(dataset_json: Mapping[str, Any] | None) -> PostprocessingConfig:
    """Return the settings of a model that was not tuned: the paper's for WT, TC and ET, nnU-Net's for other regions.

    Args:
        dataset_json: a checked one; None is taken for WT, TC and ET.
    """
    paper = PostprocessingConfig.paper()
    if dataset_json is None:
        return paper
    regions, order = regions_of(dataset_json), dataset_json["regions_class_order"]
    if not has_tumour_regions(dataset_json):
        return PostprocessingConfig(further=further_regions(regions, order), tumour_regions=False)
    n = paper.n_tumour_regions
    return replace(paper, further=further_regions(regions[n:], order[n:])) if order[n:] else paper


def nnunet_config(dataset_json: Mapping[str, Any] | None) -> PostprocessingConfig:
    """Return the settings that do what ``nnUNetv2_predict`` does for the regions of a dataset; see `default_config`."""
    return default_config(dataset_json).with_preset("nnunet")


def check_config_fits(config: PostprocessingConfig, dataset_json: Mapping[str, Any]) -> None:
    """Refuse settings that the regions of a dataset cannot have.

    Args:
        config: the settings.
        dataset_json: a checked one.

    Raises:
        InputError: the settings are of WT, TC and ET, and the regions are others, or the other way round; they paint
            other labels than the dataset has; a step is of a region that the dataset does not have; or a further region
            is part of WT or TC (the cystic component of BraTS 2024 PED is), whose components, opening and closing would
            be counted without it.
    """
    if config.tumour_regions != has_tumour_regions(dataset_json):
        found = ", ".join(region.name for region in regions_of(dataset_json))
        wanted = "WT, TC and ET" if config.tumour_regions else ", ".join(region.name for region in config.further)
        msg = (
            f"the post-processing is for {wanted}, and the model has {found}: give settings for these, or leave out "
            "--config, --preset and flags of other regions"
        )
        raise InputError(msg)
    order = dataset_json["regions_class_order"]
    if len(order) > config.n_tumour_regions + len(config.further):
        msg = f"the model has {len(order)} regions; name those after WT, TC and ET as further regions of the settings"
        raise InputError(msg)
    further = order[config.n_tumour_regions :]
    if not _are_labels_of(config, further):
        own = [region.label for region in config.further]
        msg = (
            f"the further regions of the post-processing paint {own}, and those of the model {list(further)}: correct "
            'its "further"'
        )
        raise InputError(msg)
    _check_steps_fit(config, len(further))
    on = [step.name for step in config.steps if step.is_on and step.region in (WT.name, TC.name)]
    if config.tumour_regions and on and has_region_inside_wt(dataset_json):
        msg = f"a further region of the model is part of WT, which {', '.join(on)} would count without it: leave it off"
        raise InputError(msg)


def _check_steps_fit(config: PostprocessingConfig, n_further: int) -> None:
    """Refuse steps of further regions of the settings that come after those of the dataset."""
    there = config.region_names[: config.n_tumour_regions + n_further]
    absent = [step.name for step in config.steps if step.is_on and step.region not in there]
    if absent:
        msg = f"the model has {', '.join(there)}, and {', '.join(absent)} is of another region: leave it off"
        raise InputError(msg)


def _are_labels_of(config: PostprocessingConfig, order: Sequence[int]) -> bool:
    """Tell whether further regions paint these labels; after WT, TC and ET, settings may name more than there are."""
    labels = [region.label for region in config.further]
    return labels[: len(order) if config.tumour_regions else None] == list(order)


def has_region_inside_wt(dataset_json: Mapping[str, Any]) -> bool:
    """Tell whether a region after WT, TC and ET is part of WT, as the cystic component of BraTS 2024 PED is."""
    whole_tumour, *others = regions_of(dataset_json)
    further = others[len(REGIONS) - 1 :]
    return any(set(region.tissues) & set(whole_tumour.tissues) for region in further)


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
    plans = read_json_in_turn(folder / PLANS_JSON)
    plans[PLANS_SECTION] = config.to_mapping()
    write_json(plans, folder / PLANS_JSON)
    config.to_json(folder / SETTINGS_FILE)
