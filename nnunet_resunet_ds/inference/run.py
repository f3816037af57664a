"""What ``run.json`` says of a run: the settings that decide its results, and the environment that ran it."""

import platform
from importlib.metadata import version
from typing import Any

import torch

from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.files import file_state
from nnunet_resunet_ds.inference.predictor import Predictor


def settings_of(predictor: Predictor, labels: str) -> dict[str, Any]:
    """Return all that decides what is in a label map, apart from rounding.

    Args:
        predictor: of the run.
        labels: whose label values are written.
    """
    return {
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
        "labels": labels,
        "postprocessing": predictor.postprocessing.to_mapping(),
    }


def environment_of(predictor: Predictor) -> dict[str, Any]:
    """Return with what and where it runs."""
    device = predictor.device
    return {
        "versions": {
            "nnunet-resunet-ds": __version__,
            "nnunetv2": version("nnunetv2"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": str(predictor.dtype).removeprefix("torch."),
    }
