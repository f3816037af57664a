"""Predict whole cases in this process: `Predictor`."""

from collections.abc import Sequence
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
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.nnunet_folders import PLANS_JSON
from nnunet_resunet_ds.base.setting_checks import check_choice
from nnunet_resunet_ds.compute.formats import AUTO
from nnunet_resunet_ds.compute.malloc import freed_memory_kept
from nnunet_resunet_ds.inference.model import Model, load_model
from nnunet_resunet_ds.inference.preprocessing import (
    Preprocessed,
    Probabilities,
    check_images,
    preprocess,
    restore,
)
from nnunet_resunet_ds.inference.sliding_window import (
    LOGITS,
    OVERLAPPING,
    PROBABILITIES,
    TILES,
    WHOLE,
    Advance,
    ForwardPass,
    SlidingWindow,
    flips,
)
from nnunet_resunet_ds.training.checkpoints import FINAL
from postprocessing import PostprocessingConfig, postprocess
from postprocessing.config import AVERAGES
from postprocessing.model_config import check_config_fits, config_of_model, notes_on_weights

_SIZE = 8
_AS_WRITTEN = "give the plans.json that training wrote, unchanged, and the nnU-Net that it was trained with"


def check_runs(model: Model) -> None:
    """Preprocess a tiny volume and bring it back, and send the shape of a patch through the network.

    Raises:
        InputError: the plans do not describe how.
    """
    try:
        images = np.random.default_rng(0).random((len(model.channels), *[_SIZE] * 3), np.float32) + 1
        spacing = [model.configuration.spacing[axis] for axis in model.plans.transpose_backward]
        case = preprocess(model, images, spacing)
        restored = restore(model, torch.zeros(model.n_regions, *case.data.shape[1:]), case, are_logits=True)
        with torch.device("meta"), torch.inference_mode():
            output = model.build_network()(torch.zeros(1, len(model.channels), *model.patch_size))
        ok = restored.shape[1:] == images.shape[1:] and output.shape == (1, model.n_regions, *model.patch_size)
    except InputError:
        raise
    except Exception as error:  # whatever damaged plans make nnU-Net stumble over
        reason = (str(error).strip().splitlines() or [""])[0]
        msg = f"{model.folder / PLANS_JSON}: does not work ({type(error).__name__}: {reason}); {_AS_WRITTEN}"
        raise InputError(msg) from error
    if not ok:
        msg = f"{model.folder / PLANS_JSON}: axes or patch size do not fit each other; {_AS_WRITTEN}"
        raise InputError(msg)


GPU_BATCH_SIZE = 8
"""Flips at once on a GPU, to begin with; halved where memory runs out."""


class Predictor:
    """Predicts cases with one model, or the average of several, and turns probabilities into labels.

    Args:
        models: of the same channels and regions; each model counts alike, whatever its number of folds.
        device: where to; None is a CUDA device where there is one, else the CPU.
        precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``; see `nnunet_resunet_ds.compute.precision`.
        use_mirroring: average over the flips that training mirrored, eight for three axes (decision D8).
        average: ``probabilities`` over flips, tiles and folds (D8), or ``logits`` as nnU-Net does; over models it is
            probabilities in any case, as in nnU-Net.
        tiles: ``overlapping`` patches as in nnU-Net, or ``whole``: the network sees the padded volume at once, fewer
            operations and another result, since instance norm then averages over the whole.
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
        postprocessing: PostprocessingConfig | None = None,
    ) -> None:
        if not models:
            msg = "give at least one model"
            raise InputError(msg)
        check_choice("average", average, AVERAGES)
        check_choice("tiles", tiles, TILES)
        _check_alike(models)
        self.models = models
        self.device = chosen_device(device)
        self.use_mirroring = use_mirroring
        self.average = average
        self.tiles = tiles
        self.postprocessing = postprocessing or config_of_models(models)
        for model in models:
            check_runs(model)
            check_config_fits(self.postprocessing, model.dataset_json)
        self._windows = [self._window(model, precision) for model in models]
        tuned_on = self.postprocessing.averaging
        if tuned_on not in (None, average):
            LOG.warning("the post-processing was tuned on an average of %s, and this one is of %s", tuned_on, average)
        if self.postprocessing.tuned_on:
            for line in notes_on_weights(self.postprocessing, models[0].identities):
                LOG.warning("%s", line)

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

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the input channels, in order."""
        return self.models[0].channels

    @property
    def dtype(self) -> torch.dtype:
        """What convolutions compute in."""
        return self._windows[0][0].dtype or torch.float32

    def predict_case(
        self, images: Images | Sequence[Path | str], spacing: Sequence[float] | None = None
    ) -> tuple[NDArray[np.uint8], Probabilities]:
        """Predict one case.

        Args:
            images: (C, Z, Y, X), channels in the order of `channels`, background 0, on the axes that the model's reader
                gives; or one NIfTI file a channel.
            spacing: mm in axis order (Z, Y, X); None reads it from the files.

        Returns:
            Labels (Z, Y, X) in nnU-Net's values, post-processed, and probabilities (R, Z, Y, X), on the voxels of the
            images.

        Raises:
            InputError: the images are not those of one case, or the network returns no probabilities.
        """
        grid = None
        if not isinstance(images, np.ndarray) and all(isinstance(image, str | Path) for image in images):
            loaded = load_files([Path(image) for image in images], self.channels)
            images, spacing, grid = loaded.images, loaded.spacing if spacing is None else spacing, loaded.grid
        if spacing is None:
            msg = "arrays have no spacing of their own: give spacing=(z, y, x) in mm"
            raise InputError(msg)
        cases = self.prepare(np.asarray(images), spacing, grid)
        probabilities = self.finish(self.evaluate(cases), cases)
        return postprocess(probabilities, self.postprocessing), probabilities

    # ---- the stages, for a pipeline that overlaps them ----

    def prepare(self, images: Images, spacing: Sequence[float], grid: sitk.Image | None = None) -> list[Preprocessed]:
        """Preprocess a case for each model.

        Args:
            images: (C, Z, Y, X).
            spacing: mm in axis order (Z, Y, X).
            grid: where the images lie; None: their axes are already those that the models' readers give.

        Raises:
            InputError: these are not the images of one case.
        """
        check_images(images, spacing, self.channels)
        return [preprocess(model, images, spacing, grid) for model in self.models]

    def n_forward_passes(self, cases: Sequence[Preprocessed]) -> int:
        """Return how often a prepared case sends an input through a network."""
        return sum(
            window.n_forward_passes(case.data.shape[1:]) * len(model.weights)
            for model, (_, window), case in zip(self.models, self._windows, cases, strict=True)
        )

    @torch.inference_mode()
    def evaluate(self, cases: Sequence[Preprocessed], advance: Advance = lambda _: None) -> list[Tensor]:
        """Run the networks on a prepared case and average over tiles, flips and folds: (R, Z, Y, X) for each model.

        Args:
            cases: what `prepare` returned.
            advance: called with the number of forward passes that are done.
        """
        with freed_memory_kept(self.device):
            return [
                _mean_over_folds(model, forward, window, case.data, advance)
                for model, (forward, window), case in zip(self.models, self._windows, cases, strict=True)
            ]

    def finish(self, outputs: Sequence[Tensor], cases: Sequence[Preprocessed]) -> Probabilities:
        """Bring outputs back onto the voxels of the images, and average over models: (R, Z, Y, X)."""
        restored = [
            restore(model, output, case, are_logits=self.average == LOGITS)
            for model, output, case in zip(self.models, outputs, cases, strict=True)
        ]
        mean: Probabilities = restored[0] if len(restored) == 1 else np.mean(restored, axis=0)
        return mean

    def _window(self, model: Model, precision: str) -> tuple[ForwardPass, SlidingWindow]:
        whole = self.tiles == WHOLE
        axes = flips(model.mirror_axes if self.use_mirroring else ())
        forward = ForwardPass(
            model.build_network(),
            self.device,
            precision,
            batch_size=min(GPU_BATCH_SIZE, len(axes)) if self.device.type == "cuda" else 1,
            may_compile=not whole,  # each case would be another shape to compile for
        )
        strides = _strides(model) if whole else None
        return forward, SlidingWindow(forward, model.n_regions, model.patch_size, axes, self.average, strides)


def _mean_over_folds(
    model: Model, forward: ForwardPass, window: SlidingWindow, volume: Tensor, advance: Advance
) -> Tensor:
    total: Tensor | None = None
    for weights in model.weights.values():
        forward.load(weights)
        output = window(volume, advance)
        total = output if total is None else total.add_(output)
    assert total is not None  # a model has at least one fold
    return total.div_(len(model.weights))


def _strides(model: Model) -> list[list[int]]:
    """Return the strides of a U-Net's stages.

    Raises:
        InputError: it is none, so how far a whole volume has to be padded is not known.
    """
    strides: list[list[int]] | None = model.configuration.network_arch_init_kwargs.get("strides")
    if strides is None:
        name = model.configuration.network_arch_class_name.rpartition(".")[2]
        msg = f"{model.folder}: {name} sees patches only; predict with overlapping tiles (without --tiles whole)"
        raise InputError(msg)
    return strides


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


def _check_alike(models: Sequence[Model]) -> None:
    first = models[0]
    for other in models[1:]:
        if other.channels != first.channels or other.regions != first.regions:
            differing = [
                f"{', '.join(names)}, not {', '.join(wanted)}"
                for names, wanted in ((other.channels, first.channels), (tuple(other.regions), tuple(first.regions)))
                if names != wanted
            ]
            msg = (
                f"{other.folder}: has other channels or regions than {first.folder} ({'; '.join(differing)}); an "
                "ensemble needs the same"
            )
            raise InputError(msg)


def config_of_models(models: Sequence[Model]) -> PostprocessingConfig:
    """Return the post-processing of the first model; where that of another differs, say so."""
    first, *others = [config_of_model(model.folder) for model in models]
    if any(replace(other, tuned_on=()) != replace(first, tuned_on=()) for other in others):
        LOG.warning("the models have different post-processing; that of %s is used", models[0].folder)
    return first
