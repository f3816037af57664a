"""How to predict, in one object: models, device, number format, flips, averaging, tiles and post-processing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch

from nnunet_resunet_ds.base.errors import InputError, first_line
from nnunet_resunet_ds.base.log import LOG, warn_each
from nnunet_resunet_ds.base.nnunet_folders import PLANS_JSON
from nnunet_resunet_ds.base.run_file import MADE_BY, MODELS, WEIGHTS
from nnunet_resunet_ds.base.setting_checks import check_choice, check_number
from nnunet_resunet_ds.compute import AUTO
from nnunet_resunet_ds.compute.environment import versions
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.inference.model import Model, ModelFiles
from nnunet_resunet_ds.inference.preprocessing import preprocess, restore
from nnunet_resunet_ds.inference.sliding_window import LEAST_TILE_STEP, OVERLAPPING, TILE_STEP, TILES, WHOLE
from postprocessing import PostprocessingConfig
from postprocessing.config import AVERAGE, AVERAGES, PROBABILITIES, RUN_SETTING
from postprocessing.model_config import check_config_fits, config_of_model, notes_on_weights

_TRIAL_SIZE = 8
"""Voxels along each axis of the volume that tries out a model's preprocessing."""
_AS_WRITTEN = "give the plans.json that training wrote, unchanged, and the nnU-Net that it was trained with"


@dataclass(frozen=True, kw_only=True)
class PredictionSettings:
    """How to predict: what the command line asks for, `Predictor` does, workers are sent and ``run.json`` keeps.

    Raises:
        InputError: ``average`` or ``tiles`` is none of the known words, or ``tile_step`` does not fit.
    """

    models: tuple[ModelFiles, ...]
    """The mean of their probabilities counts, each model alike, whatever its number of folds."""
    device: str | None = None
    """``cpu``, ``cuda`` or ``mps``; None is a CUDA device where there is one, else the CPU."""
    precision: str = AUTO
    """``auto``, ``fp32``, ``bf16`` or ``fp16``; see `nnunet_resunet_ds.compute.format_choice`."""
    use_mirroring: bool = True
    """Whether to average over the flips that training mirrored, eight for three axes."""
    average: str = PROBABILITIES
    """``probabilities`` over flips, tiles and folds, or ``logits`` as nnU-Net does; over models it is probabilities in
    any case, as in nnU-Net."""
    tiles: str = OVERLAPPING
    """``overlapping`` patches as in nnU-Net, or ``whole``: the network sees the padded volume at once, with fewer
    operations and another result, since instance norm then averages over the whole."""
    tile_step: float = TILE_STEP
    """Between overlapping patches, in patch sizes, at most 1; 0.25 takes up to eight times as long as nnU-Net's 0.5."""
    uncertainty: bool = False
    """Whether to find out how far flips, folds and models lie apart, at no further pass."""
    postprocessing: PostprocessingConfig = field(default_factory=PostprocessingConfig.paper)
    """Thresholds and rules."""

    def __post_init__(self) -> None:
        check_choice("average", self.average, AVERAGES)
        check_choice("tiles", self.tiles, TILES)
        check_number("tile_step", self.tile_step, at_least=LEAST_TILE_STEP, at_most=1)
        if self.tiles == WHOLE and self.tile_step != TILE_STEP:
            msg = "tile_step is for overlapping tiles; leave out either --tile-step or --tiles whole"
            raise InputError(msg)
        if self.uncertainty and self.average != PROBABILITIES:
            msg = "uncertainty is of averaged probabilities; leave out either --uncertainty or --average logits"
            raise InputError(msg)

    def load_models(self) -> list[Model]:
        """Read the models; see `load_model`."""
        return [load_model(model.folder, model.folds, model.checkpoint) for model in self.models]

    def without_models(self) -> dict[str, Any]:
        """Return all settings but the models, by name: the keywords of `Predictor`."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "models"}

    def recorded(self, models: Sequence[Model]) -> dict[str, Any]:
        """Return what ``run.json`` compares: all that decides what is in a label map, but no path and no time.

        Device and number format are left out: they change no more than the rounding.

        Args:
            models: those of the settings, loaded.
        """
        return {
            MADE_BY: "resunet-ds predict",
            MODELS: [
                {"name": files.folder.name, "checkpoint": files.checkpoint, WEIGHTS: model.identities}
                for files, model in zip(self.models, models, strict=True)
            ],
            "use_mirroring": self.use_mirroring,
            AVERAGE: self.average,
            "tiles": self.tiles,
            "tile_step": self.tile_step,
            RUN_SETTING: self.postprocessing.to_mapping(),
        }

    def environment(self, hardware: Mapping[str, str]) -> dict[str, Any]:
        """Return what ``run.json`` says, too: versions, where the models lie, and what computes.

        Args:
            hardware: ``Predictor.hardware``; empty where workers predict, each on its own.
        """
        return {"versions": versions(), "model_folders": [str(files.folder) for files in self.models], **hardware}


def config_of_models(models: Sequence[Model]) -> PostprocessingConfig:
    """Return the post-processing of the first model; warn where that of another differs."""
    first, *others = [config_of_model(model.folder) for model in models]
    if any(replace(other, tuned_on=()) != replace(first, tuned_on=()) for other in others):
        LOG.warning("the models have different post-processing; that of %s is used", models[0].folder)
    return first


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
