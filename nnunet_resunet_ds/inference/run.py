"""What ``run.json`` says of a run: the settings that decide its results, and the environment that ran it."""

from typing import Any

from nnunet_resunet_ds.environment import device_name, versions
from nnunet_resunet_ds.files import file_state
from nnunet_resunet_ds.inference.predictor import Predictor
from nnunet_resunet_ds.run_file import MADE_BY


def settings_of(predictor: Predictor) -> dict[str, Any]:
    """Return all of a predictor that decides what is in a label map, apart from rounding."""
    return {
        MADE_BY: "resunet-ds predict",
        "models": [
            {
                "folder": str(model.folder.resolve()),
                "folds": list(model.weights),
                "checkpoint": model.checkpoint,
                "weights": [file_state(file) for file in model.files],
            }
            for model in predictor.models
        ],
        "use_mirroring": predictor.use_mirroring,
        "average": predictor.average,
        "tiles": predictor.tiles,
        "postprocessing": predictor.postprocessing.to_mapping(),
    }


def environment_of(predictor: Predictor) -> dict[str, Any]:
    """Return with what and where it runs."""
    return {"versions": versions(), **device_of(predictor)}


def device_of(predictor: Predictor) -> dict[str, str]:
    """Return where it runs, and in which number format."""
    return {"device": device_name(predictor.device), "precision": str(predictor.dtype).removeprefix("torch.")}
