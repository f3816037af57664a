"""Which post-processing belongs to a model: what was tuned for it travels in its folder."""

from pathlib import Path

from nnunet_resunet_ds.errors import InputError
from nnunet_resunet_ds.files import read_json, write_json
from postprocessing.config import PostprocessingConfig

SETTINGS = "postprocessing.json"
PLANS = "plans.json"
PLANS_SECTION = "resunet_ds_postprocessing"
"""Of plans.json, the one file of a model folder that nnU-Net's model zip and its predictions both carry."""


def config_of_model(folder: Path) -> PostprocessingConfig:
    """Return what ``postprocessing.json`` of a model folder says, else its ``plans.json``, else the paper's settings.

    Raises:
        InputError: the settings there are damaged or out of range.
    """
    file = folder / SETTINGS
    return PostprocessingConfig.from_json(file) if file.is_file() else config_of_predictions(folder)


def config_of_predictions(folder: Path) -> PostprocessingConfig:
    """Return what ``plans.json`` of a folder says, which prediction copies from the model; else the paper's settings.

    Raises:
        InputError: the settings there are damaged or out of range.
    """
    plans = folder / PLANS
    content = read_json(plans) if plans.is_file() else {}
    if not isinstance(content, dict) or PLANS_SECTION not in content:
        return PostprocessingConfig.paper()
    try:
        return PostprocessingConfig.from_mapping(content[PLANS_SECTION])
    except InputError as error:
        msg = f'{plans}: "{PLANS_SECTION}": {error}'
        raise InputError(msg) from error


def keep_with_model(config: PostprocessingConfig, folder: Path) -> None:
    """Write settings into a model folder, as ``postprocessing.json`` and into its ``plans.json``."""
    plans = read_json(folder / PLANS)
    plans[PLANS_SECTION] = config.to_mapping()
    write_json(plans, folder / PLANS)
    config.to_json(folder / SETTINGS)
