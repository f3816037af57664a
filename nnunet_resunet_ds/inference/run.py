"""What ``run.json`` says of a run: the settings that decide its results, and the environment that ran it."""

from typing import Any

from nnunet_resunet_ds.base.run_file import MADE_BY, MODELS, WEIGHTS
from nnunet_resunet_ds.compute.environment import device_name, versions
from nnunet_resunet_ds.inference.predictor import Predictor
from postprocessing.config import RUN_SETTING


def settings_of(predictor: Predictor) -> dict[str, Any]:
    """Return all of a predictor that decides what is in a label map, apart from rounding: no path, and no time."""
    return {
        MADE_BY: "resunet-ds predict",
        MODELS: [
            {"name": model.folder.resolve().name, "checkpoint": model.checkpoint, WEIGHTS: model.identities}
            for model in predictor.models
        ],
        "use_mirroring": predictor.use_mirroring,
        "average": predictor.average,
        "tiles": predictor.tiles,
        RUN_SETTING: predictor.postprocessing.to_mapping(),
    }


def environment_of(predictor: Predictor, *, here: bool = True) -> dict[str, Any]:
    """Return with what it runs, where its models are, and on what, unless that is not here."""
    folders = [str(model.folder.resolve()) for model in predictor.models]
    return {"versions": versions(), "model_folders": folders, **(device_of(predictor) if here else {})}


def device_of(predictor: Predictor) -> dict[str, str]:
    """Return where it runs, and in which number format."""
    return {"device": device_name(predictor.device), "precision": str(predictor.dtype).removeprefix("torch.")}
