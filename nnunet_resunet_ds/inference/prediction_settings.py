"""How to predict, in one object: models, device, number format, flips, averaging, tiles and post-processing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.run_file import MADE_BY, MODELS, WEIGHTS
from nnunet_resunet_ds.base.setting_checks import check_choice, check_number
from nnunet_resunet_ds.compute import AUTO
from nnunet_resunet_ds.compute.environment import versions
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.inference.model import Model, ModelFiles
from nnunet_resunet_ds.inference.sliding_window import LEAST_TILE_STEP, OVERLAPPING, TILE_STEP, TILES, WHOLE
from postprocessing import PostprocessingConfig
from postprocessing.config import AVERAGE, AVERAGES, PROBABILITIES, RUN_SETTING
from postprocessing.model_config import config_of_model


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

    @classmethod
    def of(cls, models: Sequence[Model], **others: Any) -> "PredictionSettings":  # noqa: ANN401 (those of the class)
        """Return settings for loaded models, with the post-processing of the first where none is given."""
        given = {"postprocessing": config_of_models(models), **others}
        return cls(models=tuple(model.files for model in models), **given)

    def load_models(self) -> list[Model]:
        """Read the models; see `load_model`."""
        return [load_model(model.folder, model.folds, model.checkpoint) for model in self.models]

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
