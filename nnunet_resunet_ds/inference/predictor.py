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

from dataset_conversion.image_cases import Images, load_files
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.compute import AUTO
from nnunet_resunet_ds.compute.environment import device_name
from nnunet_resunet_ds.compute.malloc import freed_memory_kept
from nnunet_resunet_ds.compute.transfer import Advance, current, ready_to_send
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.inference.prediction_settings import (
    PredictionSettings,
    check_models,
    config_of_models,
    strides_of,
)
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
from nnunet_resunet_ds.training.checkpoint_names import FINAL
from nnunet_resunet_ds.uncertainty.expected_dice import expected_dice_of
from postprocessing import PostprocessingConfig, postprocess
from postprocessing.config import LOGITS, PROBABILITIES

GPU_BATCH_SIZE = 4
"""Flips at once on a GPU, to begin with; halved where memory runs out. Eight were 1 % faster on an H100."""


class Predictor:
    """Predicts cases with one model, or the mean of several, and turns probabilities into labels.

    Args:
        models: with the same channels and regions.
        device: see `PredictionSettings`, as for the other settings.
        precision: number format of convolutions.
        use_mirroring: whether to average over flips.
        average: ``probabilities`` or ``logits``.
        tiles: ``overlapping`` or ``whole``.
        tile_step: between overlapping tiles, in patch sizes.
        uncertainty: whether to find out how far flips, folds and models lie apart, see `restore_with_spread`.
        postprocessing: thresholds and rules; None is what lies in the folder of the first model, else the paper's.

    Raises:
        InputError: a setting that cannot be, or models that do not fit each other.
    """

    def __init__(
        self,
        models: Sequence[Model],
        *,
        device: torch.device | str | None = None,
        precision: str = AUTO,
        use_mirroring: bool = True,
        average: str = PROBABILITIES,
        tiles: str = OVERLAPPING,
        tile_step: float = TILE_STEP,
        uncertainty: bool = False,
        postprocessing: PostprocessingConfig | None = None,
    ) -> None:
        if not models:
            msg = "give at least one model"
            raise InputError(msg)
        self.models = models
        self.settings = PredictionSettings(
            models=tuple(model.files for model in models),
            device=None if device is None else str(device),
            precision=precision,
            use_mirroring=use_mirroring,
            average=average,
            tiles=tiles,
            tile_step=tile_step,
            uncertainty=uncertainty,
            postprocessing=postprocessing or config_of_models(models),
        )
        self.device = chosen_device(device)
        if self.device.type == "cuda" and tiles != WHOLE:
            torch.backends.cudnn.benchmark = True  # as nnU-Net's predictor: tiles are of one size, so that trying pays
        check_models(self.settings, models)
        is_known = len(models) == 1 and tiles != WHOLE and self.settings.postprocessing == config_of_models(models)
        self.expected_dice = expected_dice_of(models[0].folder, models[0].identities) if is_known else None
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
        """Read one model and make its predictor; see `load_model` and the class.

        Raises:
            InputError: the folder holds no such model, or a setting that cannot be.
        """
        wanted = [folds] if isinstance(folds, int | str) else folds
        return cls([load_model(Path(folder), wanted, checkpoint)], **settings)

    @classmethod
    def from_settings(cls, settings: PredictionSettings, models: Sequence[Model] | None = None) -> "Predictor":
        """Make the predictor that these settings describe.

        Args:
            settings: how to predict.
            models: those of the settings, if they are loaded already.

        Raises:
            InputError: a model is not there, or does not fit the settings.
        """
        return cls(settings.load_models() if models is None else models, **settings.without_models())

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
        """Predict one case.

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
        grid = None
        if not isinstance(images, np.ndarray) and all(isinstance(image, str | Path) for image in images):
            check_absent(absent, self.channels)
            there = [name for name in self.channels if name not in absent]
            loaded = load_files([Path(image) for image in images], there)
            spacing, grid = loaded.spacing if spacing is None else spacing, loaded.grid
            images = with_absent(loaded.images, self.channels, absent)
        if spacing is None:
            msg = "arrays have no spacing of their own: give spacing=(z, y, x) in mm"
            raise InputError(msg)
        cases = self.preprocess(np.asarray(images), spacing, grid, absent)
        probabilities = self.restore(self.run_networks(cases), cases)
        return postprocess(probabilities, self.postprocessing, math.prod(spacing)), probabilities

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
        return mean_and_spread(restored, self.models[0].n_regions, sum(len(model.weights) for model in self.models))


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


def chosen_device(device: torch.device | str | None) -> torch.device:
    """Return the device to predict on.

    Raises:
        InputError: it is not there.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        msg = f"no such device {device!r}; use cpu, cuda or mps"
        raise InputError(msg) from error
    missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if missing.get(chosen.type):
        msg = f"no {chosen.type} device here; use -device cpu, or see what resunet-ds doctor says of the GPU"
        raise InputError(msg)
    return chosen
