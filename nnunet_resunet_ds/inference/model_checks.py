"""Check that models can predict, and fit each other and the settings."""

from collections.abc import Sequence

import numpy as np
import torch

from nnunet_resunet_ds.base.errors import InputError, first_line
from nnunet_resunet_ds.base.log import LOG, warn_each
from nnunet_resunet_ds.base.nnunet_folders import PLANS_JSON
from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings
from nnunet_resunet_ds.inference.preprocessing import preprocess, restore
from nnunet_resunet_ds.inference.sliding_window import WHOLE
from postprocessing.model_config import check_config_fits, notes_on_weights

_TRIAL_SIZE = 8
"""Voxels along each axis of the volume that tries out a model's preprocessing."""
_AS_WRITTEN = "give the plans.json that training wrote, unchanged, and the nnU-Net that it was trained with"


def check_models(settings: PredictionSettings, models: Sequence[Model]) -> None:
    """Check that loaded models fit each other and the settings, and that each can predict.

    Warns where the post-processing was tuned on another average or on other weights.

    Raises:
        InputError: they do not, or ``plans.json`` of one does not work.
    """
    _check_same_channels_and_regions(models)
    for model in models:
        _check_runs(model)
        check_config_fits(settings.postprocessing, model.dataset_json)
        if settings.tiles == WHOLE:
            strides_of(model)
    tuned_on = settings.postprocessing.averaging
    if tuned_on not in (None, settings.average):
        LOG.warning(
            "the post-processing was tuned on an average of %s, and this one is of %s", tuned_on, settings.average
        )
    flips = settings.postprocessing.flips
    if flips not in (None, settings.use_mirroring):
        LOG.warning(
            "the post-processing was tuned on predictions %s flips, and these are %s; predict, or tune, as the other",
            *(("with", "without") if flips else ("without", "with")),
        )
    if settings.postprocessing.tuned_on:
        warn_each(notes_on_weights(settings.postprocessing, models[0].identities))


def strides_of(model: Model) -> list[list[int]]:
    """Return the strides of a U-Net's stages, (Z, Y, X) each.

    Raises:
        InputError: the network is no U-Net, so how far a whole volume has to be padded is not known.
    """
    strides: list[list[int]] | None = model.configuration.network_arch_init_kwargs.get("strides")
    if strides is None:
        name = model.configuration.network_arch_class_name.rpartition(".")[2]
        msg = f"{model.folder}: {name} sees patches only; predict with overlapping tiles (without --tiles whole)"
        raise InputError(msg)
    return strides


def _check_same_channels_and_regions(models: Sequence[Model]) -> None:
    first = models[0]
    for other in models[1:]:
        if other.channels != first.channels or _values(other) != _values(first):
            differing = [
                f"{', '.join(names)}, not {', '.join(wanted)}"
                for names, wanted in ((other.channels, first.channels), (tuple(_values(other)), tuple(_values(first))))
                if names != wanted
            ]
            msg = (
                f"{other.folder}: has other channels or regions than {first.folder} ({'; '.join(differing)}); an "
                "ensemble needs the same"
            )
            raise InputError(msg)


def _values(model: Model) -> dict[str, tuple[int, ...]]:
    """Return name and label values of each region; what dataset.json calls WT, TC and ET does not matter."""
    return {region.name: region.tissues for region in model.regions}


def _check_runs(model: Model) -> None:
    """Preprocess a tiny volume and bring it back, and send the shape of a patch through the network."""
    try:
        ok = _trial_fits(model)
    except InputError:
        raise
    except Exception as error:  # damaged plans make nnU-Net raise anything
        msg = f"{model.folder / PLANS_JSON}: does not work ({type(error).__name__}: {first_line(error)}); {_AS_WRITTEN}"
        raise InputError(msg) from error
    if not ok:
        msg = f"{model.folder / PLANS_JSON}: axes or patch size do not fit each other; {_AS_WRITTEN}"
        raise InputError(msg)


def _trial_fits(model: Model) -> bool:
    """Tell whether shapes come back as they went in; nothing is computed in the network."""
    images = np.random.default_rng(0).random((len(model.channels), *[_TRIAL_SIZE] * 3), np.float32) + 1
    spacing = [model.configuration.spacing[axis] for axis in model.plans.transpose_backward]
    case = preprocess(model, images, spacing)
    restored = restore(model, torch.zeros(model.n_regions, *case.data.shape[1:]), case, are_logits=True)
    with torch.device("meta"), torch.inference_mode():
        output = model.build_network()(torch.zeros(1, len(model.channels), *model.patch_size))
    return restored.shape[1:] == images.shape[1:] and output.shape == (1, model.n_regions, *model.patch_size)
