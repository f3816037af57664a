"""Average the weights of a model's last epochs, and keep the mean where it does not lose on the validation cases."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.dataset_json import checked_dataset_json, regions_of
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import file_state
from nnunet_resunet_ds.base.text_table import aligned
from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings
from nnunet_resunet_ds.training.checkpoint.averaging import averaged_weights, write_averaged
from nnunet_resunet_ds.training.checkpoint.checkpoint_content import epochs_of, plain_weights
from nnunet_resunet_ds.training.checkpoint.checkpoints import Checkpoint, Weights, read_checkpoint
from nnunet_resunet_ds.training.checkpoint.kept_weights import last_kept
from nnunet_resunet_ds.tuning.cross_validation import predict_validation, predict_validation_with
from nnunet_resunet_ds.tuning.metrics import DICE
from nnunet_resunet_ds.tuning.scores import Scores
from nnunet_resunet_ds.tuning.validation_cases import validation_ids
from postprocessing.model_config import default_config


class _Average(NamedTuple):
    """The mean of the last epochs of a fold, in memory."""

    file: Path
    """The final checkpoint."""
    state: list[int]
    """Of this file, when it was read."""
    final: Checkpoint
    epochs: tuple[int, ...]
    weights: Weights


@dataclass(frozen=True)
class Comparison:
    """Final and averaged weights of a fold on its validation cases."""

    fold: str
    epochs: tuple[int, ...]
    """Whose weights are averaged."""
    final: NDArray[np.float64]
    """Dice of each case with the final weights, the mean over the regions."""
    averaged: NDArray[np.float64]
    """The same with the averaged weights."""


@dataclass(frozen=True)
class Averaging:
    """What came of averaging the folds of a model."""

    folds: Sequence[Comparison]
    written: Sequence[Path]
    """A checkpoint a fold; none where the averaged weights lose."""

    @property
    def gain(self) -> float:
        """Mean Dice of the averaged weights less that of the final ones, over the cases of all folds."""
        return _gain(self.folds)


def average_model(settings: PredictionSettings, last: int | None = None, *, keep_anyway: bool = False) -> Averaging:
    """Average the weights of the last epochs of each fold; keep the means where they do not lose on validation.

    It is decided for all folds at once: a model has averaged weights in each of them, or in none. The caller lets no
    other process write into the folder meanwhile: see `only_writer`.

    Args:
        settings: of one model with its final weights; its folds, device, number format and flips count.
        last: how many epochs; None is all that are kept.
        keep_anyway: whether to write the averaged weights that lose, too.

    Raises:
        InputError: weights are not kept, damaged or of another network, validation cases are missing, or a fold was
            trained again meanwhile.
    """
    (model,) = settings.models
    files = dict(zip(model.folds, model.checkpoints, strict=True))
    dataset_json = checked_dataset_json(model.folder)
    settings = replace(settings, postprocessing=default_config(dataset_json))
    ids = validation_ids(model.folder, files)
    averages = {fold: _average(file, last) for fold, file in files.items()}
    found = [
        predict_validation(settings, ids),
        predict_validation_with({fold: average.weights for fold, average in averages.items()}, settings, ids),
    ]
    regions = regions_of(dataset_json)
    comparisons = []
    for fold, average in averages.items():
        final, averaged = (Scores(of[fold], DICE, regions)([settings.postprocessing])[0] for of in found)
        comparisons.append(Comparison(fold, average.epochs, final, averaged))
    keep = keep_anyway or _gain(comparisons) >= 0
    return Averaging(comparisons, _write(averages, comparisons) if keep else ())


def _average(file: Path, last: int | None) -> _Average:
    state = file_state(file)
    final = read_checkpoint(file, mapped=True)
    kept = last_kept(file.parent, epochs_of(final), last)
    return _Average(file, state, final, tuple(kept), averaged_weights(list(kept.values()), plain_weights(final)))


def _write(averages: Mapping[str, _Average], comparisons: Sequence[Comparison]) -> list[Path]:
    """Write the averaged checkpoint of each fold; return their paths.

    Raises:
        InputError: a fold has been trained again since its weights were read.
    """
    for average in averages.values():
        if not average.file.is_file() or file_state(average.file) != average.state:
            msg = f"{average.file}: has changed since it was read; average again when the training of this fold is done"
            raise InputError(msg)
    written = []
    for compared in comparisons:
        average = averages[compared.fold]
        dice = {"final": float(compared.final.mean()), "averaged": float(compared.averaged.mean())}
        note = {"epochs": list(compared.epochs), "validation_cases": len(compared.final), "dice": dice}
        written.append(write_averaged(average.final, average.weights, note, average.file.parent))
    return written


def _gain(folds: Sequence[Comparison]) -> float:
    return float(np.concatenate([fold.averaged - fold.final for fold in folds]).mean())


def averaging_content(averaging: Averaging) -> dict[str, Any]:
    """Return what came of averaging for programs: mean Dice of each fold's validation cases, and what was written."""
    return {
        "folds": [
            {
                "fold": fold.fold,
                "epochs": fold.epochs,
                "cases": len(fold.final),
                "final": float(fold.final.mean()),
                "averaged": float(fold.averaged.mean()),
            }
            for fold in averaging.folds
        ],
        "gain": averaging.gain,
        "written": averaging.written,
    }


def averaging_lines(averaging: Averaging) -> Iterator[str]:
    """Yield a table of what each fold gains on its validation cases, and what follows from it."""
    yield "mean dice of held-out cases"
    rows = [_row(f"{fold.fold}", _range(fold.epochs), fold.final, fold.averaged) for fold in averaging.folds]
    if len(rows) > 1:
        final, averaged = (
            np.concatenate([getattr(fold, name) for fold in averaging.folds]) for name in ("final", "averaged")
        )
        rows.append(_row("all", "", final, averaged))
    yield from aligned([("fold", "epochs", "cases", "final", "averaged", "gain"), *rows], numbers_from=1)
    if not averaging.written:
        yield "the averaged weights lose, so they are not written; --keep-anyway writes them all the same"
    for path in averaging.written:
        yield f"wrote {path}"


def _row(name: str, epochs: str, final: NDArray[np.float64], averaged: NDArray[np.float64]) -> tuple[str, ...]:
    before, after = final.mean(), averaged.mean()
    return name, epochs, f"{len(final)}", f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}"


def _range(epochs: Sequence[int]) -> str:
    return f"{epochs[0]}–{epochs[-1]}" if len(epochs) > 1 else f"{epochs[0]}"
