"""Predict whole cases in this process: preprocess, run the networks, restore, post-process."""

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import Tensor

from dataset_conversion.image_cases import Images, LoadedCase, load_files
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.log import warn_each
from nnunet_resunet_ds.compute.device import chosen_device
from nnunet_resunet_ds.compute.environment import device_name
from nnunet_resunet_ds.compute.malloc import freed_memory_kept
from nnunet_resunet_ds.compute.transfer import Advance, current, ready_to_send
from nnunet_resunet_ds.inference.input_warnings import image_warnings, input_warnings
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.inference.model_checks import check_models, strides_of
from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings, config_of_models
from nnunet_resunet_ds.inference.preprocessing import (
    Preprocessed,
    Probabilities,
    check_absent,
    check_images,
    preprocess,
    restore,
    with_absent,
)
from nnunet_resunet_ds.inference.sliding_window import (
    OVERLAPPING,
    TILE_STEP,
    WHOLE,
    ForwardPass,
    SlidingWindow,
    flips,
)
from nnunet_resunet_ds.inference.spread import Spread, mean_and_spread
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import FINAL
from nnunet_resunet_ds.uncertainty.expected_dice import ExpectedDiceModel, expected_dice_of
from postprocessing import PostprocessingConfig, postprocess
from postprocessing.config import LOGITS

_HEADER_ROUNDING = 1e-3
"""Relative, of a spacing."""
GPU_BATCH_SIZE = 4
"""Flips at once on a GPU, to begin with; halved where memory runs out. Eight were 1 % faster on an H100."""


class Predictor:
    """Predicts cases with one model, or the mean of several, and turns probabilities into labels.

    Args:
        models: with the same channels and regions.
        settings: how to predict; None is the paper's way, with the post-processing of the first model.

    Raises:
        InputError: no models, or they do not fit each other or the settings.
    """

    def __init__(self, models: Sequence[Model], settings: PredictionSettings | None = None) -> None:
        if not models:
            msg = "give at least one model"
            raise InputError(msg)
        self.models = models
        self.settings = settings or PredictionSettings.of(models)
        self.device = chosen_device(self.settings.device)
        if self.device.type == "cuda" and self.settings.tiles != WHOLE:
            torch.backends.cudnn.benchmark = True  # as nnU-Net's predictor: tiles are of one size, so that trying pays
        check_models(self.settings, models)
        self.expected_dice = _expected_dice(models, self.settings)
        """What `tune` has learnt about the Dice of one model with its own settings: of others nothing is known."""
        self._windows = [_sliding_window(model, self.settings, self.device) for model in models]

    @classmethod
    def from_model_folder(
        cls,
        folder: Path | str,
        *,
        folds: Sequence[int | str] | int | str | None = None,
        checkpoint: str = FINAL,
        **settings: Any,  # noqa: ANN401 (those of the class)
    ) -> "Predictor":
        """Read one model and make its predictor; see `load_model`, and `PredictionSettings` for further settings.

        Raises:
            InputError: the folder holds no such model, or a setting that cannot be.
        """
        wanted = [folds] if isinstance(folds, int | str) else folds
        models = [load_model(Path(folder), wanted, checkpoint)]
        device = settings.pop("device", None)
        return cls(models, PredictionSettings.of(models, device=None if device is None else str(device), **settings))

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the input channels, in order."""
        return self.models[0].channels

    @property
    def postprocessing(self) -> PostprocessingConfig:
        """Thresholds and rules."""
        return self.settings.postprocessing

    @property
    def hardware(self) -> dict[str, str]:
        """What computes, and in which number format, in words."""
        dtype = self._windows[0].dtype or torch.float32
        return {"device": device_name(self.device), "precision": str(dtype).removeprefix("torch.")}

    def predict_case(
        self,
        images: Images | Sequence[Path | str],
        spacing: Sequence[float] | None = None,
        absent: Collection[str] = (),
    ) -> tuple[NDArray[np.uint8], Probabilities]:
        """Predict one case. What is odd about its images is logged as a warning, as the command says it.

        Args:
            images: (C, Z, Y, X), channels in the order of `channels`, background 0, on the axes that the model's reader
                gives; or one NIfTI file a channel.
            spacing: mm in axis order (Z, Y, X); None reads it from the files.
            absent: names of `channels` that the case lacks. Their arrays must be zero; files are of the other channels
                alone. A model that was not trained with absent sequences predicts less well then.

        Returns:
            Labels (Z, Y, X) in nnU-Net's values, post-processed, and probabilities (R, Z, Y, X), on the voxels of the
            images.

        Raises:
            InputError: the images are not those of one case, or the network returns no probabilities.
        """
        if not isinstance(images, np.ndarray) and all(isinstance(image, str | Path) for image in images):
            loaded = self._load([Path(image) for image in images], spacing, absent)
            spacing = loaded.spacing
            cases = self.preprocess(loaded.images, spacing, loaded.grid, absent)
            odd, name = input_warnings(loaded, cases, self.models), f"images of {Path(images[0]).name}, …"
        else:
            if spacing is None:
                msg = "arrays have no spacing of their own: give spacing=(z, y, x) in mm"
                raise InputError(msg)
            arrays = np.asarray(images)
            cases = self.preprocess(arrays, spacing, absent=absent)
            odd, name = image_warnings(arrays, spacing, cases, self.models), "images"
        warn_each(f"{name}: {warning}" for warning in odd)
        probabilities = self.restore(self.run_networks(cases), cases)
        return postprocess(probabilities, self.postprocessing, math.prod(spacing)), probabilities

    def _load(self, files: Sequence[Path], spacing: Sequence[float] | None, absent: Collection[str]) -> LoadedCase:
        """Read the images of a case, zeros for those that are absent, and check the spacing that is given, if any."""
        check_absent(absent, self.channels)
        loaded = load_files(files, [name for name in self.channels if name not in absent])
        if spacing is not None and not _is_spacing_of(loaded.spacing, spacing):
            msg = f"spacing={spacing!r}, and the files say {loaded.spacing}: leave it out for files"
            raise InputError(msg)
        return replace(loaded, images=with_absent(loaded.images, self.channels, absent))

    # ---- the stages, for a pipeline that overlaps them ----

    def preprocess(
        self,
        images: Images,
        spacing: Sequence[float],
        grid: sitk.Image | None = None,
        absent: Collection[str] = (),
    ) -> list[Preprocessed]:
        """Preprocess a case for each model.

        Args:
            images: (C, Z, Y, X).
            spacing: mm in axis order (Z, Y, X).
            grid: where the images lie; None: their axes are already those that the models' readers give.
            absent: names of `channels` that the case lacks; their images are zero.

        Raises:
            InputError: these are not the images of one case.
        """
        check_images(images, spacing, self.channels, absent)
        cases = [preprocess(model, images, spacing, grid) for model in self.models]
        return [replace(case, data=ready_to_send(case.data, self.device)) for case in cases]

    def n_forward_passes(self, cases: Sequence[Preprocessed]) -> int:
        """Return how often a preprocessed case sends an input through a network."""
        return sum(
            window.n_forward_passes(case.data.shape[1:]) * len(model.weights)
            for model, window, case in zip(self.models, self._windows, cases, strict=True)
        )

    @torch.inference_mode()
    def run_networks(self, cases: Sequence[Preprocessed], advance: Advance = lambda _: None) -> list[Tensor]:
        """Run the networks on a preprocessed case; return the average over tiles, flips and folds for each model.

        Args:
            cases: what `preprocess` returned.
            advance: called with the number of forward passes that are done.

        Returns:
            Of each model, on the voxels of the preprocessed case, what `SlidingWindow.mean_over_folds` does:
            probabilities or logits (R, Z, Y, X), and more where the settings ask for uncertainty.

        Raises:
            torch.OutOfMemoryError: not even one tile fits on the device.
        """
        with freed_memory_kept(self.device), current(self.device):
            return [
                window.mean_over_folds(list(model.weights.values()), case.data, advance)
                for model, window, case in zip(self.models, self._windows, cases, strict=True)
            ]

    def restore(self, outputs: Sequence[Tensor], cases: Sequence[Preprocessed]) -> Probabilities:
        """Bring outputs back onto the voxels of the images, and average over models: (R, Z, Y, X)."""
        return self.restore_with_spread(outputs, cases)[0]

    def restore_with_spread(
        self, outputs: Sequence[Tensor], cases: Sequence[Preprocessed]
    ) -> tuple[Probabilities, Spread | None]:
        """Do what `restore` does, and say how far flips, folds and models lie apart, where the settings ask for it."""
        restored = [
            restore(model, output, case, are_logits=self.settings.average == LOGITS)
            for model, output, case in zip(self.models, outputs, cases, strict=True)
        ]
        return mean_and_spread(restored, self.models[0].n_regions, [len(model.weights) for model in self.models])


def _is_spacing_of(stored: Sequence[float], given: Sequence[float]) -> bool:
    """Tell whether a spacing that is given is that of files."""
    return np.shape(given) == np.shape(stored) and np.allclose(given, stored, rtol=_HEADER_ROUNDING)


def _expected_dice(models: Sequence[Model], settings: PredictionSettings) -> ExpectedDiceModel | None:
    """Return what was learnt about one model, if it predicts in the way that it was learnt of."""
    config = settings.postprocessing
    if len(models) > 1 or config != config_of_models(models):
        return None
    if (settings.tiles, settings.tile_step) != (OVERLAPPING, TILE_STEP):
        return None
    if config.averaging not in (None, settings.average) or config.flips not in (None, settings.use_mirroring):
        return None
    return expected_dice_of(models[0].folder, models[0].identities)


def _sliding_window(model: Model, settings: PredictionSettings, device: torch.device) -> SlidingWindow:
    whole = settings.tiles == WHOLE
    axes = flips(model.mirror_axes if settings.use_mirroring else ())
    forward = ForwardPass(
        model.build_network(),
        device,
        settings.precision,
        tile=model.tile,
        batch_size=min(GPU_BATCH_SIZE, len(axes)) if device.type == "cuda" else 1,
        may_compile=not whole,  # each case would be another shape to compile for
    )
    strides = strides_of(model) if whole else None
    return SlidingWindow(
        forward,
        model.n_regions,
        model.patch_size,
        axes,
        settings.average,
        strides,
        settings.tile_step,
        with_variance=settings.uncertainty,
    )
