"""Predicting the cases of a cohort in the processes of an executor: each makes its predictor once, a case at a time."""

import traceback
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from dataset_conversion.image_cases import CaseSet
from dataset_conversion.scan import RawCase
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import file_state
from nnunet_resunet_ds.base.parallel import for_each
from nnunet_resunet_ds.compute.formats import AUTO
from nnunet_resunet_ds.inference.model import load_model
from nnunet_resunet_ds.inference.pipeline import Predicted, Sink, Writer, predict_cases, sorted_out
from nnunet_resunet_ds.inference.predictor import Predictor
from nnunet_resunet_ds.inference.run import device_of
from nnunet_resunet_ds.inference.sliding_window import OVERLAPPING, PROBABILITIES
from postprocessing.config import PostprocessingConfig

_ONE_AT_A_TIME = Lock()
"""A worker may have several threads, and its predictor has one set of buffers."""


@dataclass(frozen=True)
class PredictorSettings:
    """All that a process needs to make a `Predictor`."""

    models: tuple[tuple[Path, tuple[str, ...], str], ...]
    """Folder, folds and checkpoint of each."""
    states: tuple[tuple[int, ...], ...]
    """Of the checkpoints, so that a process that has an earlier one of the same name reads it again."""
    postprocessing: PostprocessingConfig
    device: str | None = None
    """None: what the process has."""
    precision: str = AUTO
    use_mirroring: bool = True
    average: str = PROBABILITIES
    tiles: str = OVERLAPPING

    @classmethod
    def of(cls, predictor: Predictor, device: str | None, precision: str) -> "PredictorSettings":
        """Return those of a predictor, with device and precision as they were asked for."""
        return cls(
            tuple((model.folder.resolve(), tuple(model.weights), model.checkpoint) for model in predictor.models),
            tuple(tuple(file_state(file)) for model in predictor.models for file in model.files),
            predictor.postprocessing,
            device,
            precision,
            use_mirroring=predictor.use_mirroring,
            average=predictor.average,
            tiles=predictor.tiles,
        )

    def predictor(self) -> Predictor:
        """Make it."""
        return Predictor(
            [load_model(folder, folds, checkpoint) for folder, folds, checkpoint in self.models],
            device=self.device,
            precision=self.precision,
            use_mirroring=self.use_mirroring,
            average=self.average,
            tiles=self.tiles,
            postprocessing=self.postprocessing,
        )


def predict_cases_on(
    executor: Executor, settings: PredictorSettings, case_set: CaseSet, sink: Sink, *, resume: bool = False
) -> Predicted:
    """Do what `predict_cases` does in the processes of an executor, which must see the images, models and output.

    Args:
        executor: of processes with a GPU or cores each.
        settings: of the predictor that each of them makes.
        case_set: the cases.
        sink: where to; its writer works in the processes, and its notes are made here.
        resume: leave out the cases that are there already.
    """
    report, cases = sorted_out(case_set, sink, resume=resume)

    def settle(case: RawCase, outcome: "_Outcome | InputError") -> None:
        if isinstance(outcome, InputError):
            outcome = _Outcome(Predicted(failures={case.case_id: str(outcome)}))
        report.add(outcome.predicted)
        failure = outcome.predicted.failures.get(case.case_id)
        if failure is None:
            sink.note(case.case_id, outcome.entry)
        else:
            sink.note_failure(case.case_id, failure)

    work = partial(
        predict_one, settings=settings, case_set=replace(case_set, cases=[], problems={}), writer=sink.writer
    )
    for_each(cases, work, "predict", executor, name=lambda case: case.case_id, settle=settle)
    return report


@dataclass(frozen=True)
class _Outcome:
    """What came of one case, and what is to be said of it."""

    predicted: Predicted
    entry: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class _OneCase:
    """A `Sink` in a worker."""

    writer: Writer
    entry: Mapping[str, Any] = field(default_factory=dict)

    def is_finished(self, case: RawCase) -> bool:
        """Return False: the case would not have been sent here."""
        return False

    def note(self, case_id: str, entry: Mapping[str, Any]) -> None:
        """Keep what is to be said, for the process that asked."""
        self.entry = entry

    def note_failure(self, case_id: str, reason: str) -> None:
        """Do nothing: what came of the case says it."""


def predict_one(case: RawCase, settings: PredictorSettings, case_set: CaseSet, writer: Writer) -> _Outcome:
    """Predict and write one case in this process.

    Raises:
        InputError: the model cannot be used here.
    """
    sink = _OneCase(writer)
    with _ONE_AT_A_TIME:
        predictor = _predictor(settings)
        predicted = predict_cases(predictor, replace(case_set, cases=[case]), sink, show_progress=False)
    # An exception loses its traceback on the way, or cannot be made anew.
    faults: dict[str, Exception] = {
        case_id: RuntimeError("in a worker:\n" + "".join(traceback.format_exception(fault)))
        for case_id, fault in predicted.faults.items()
    }
    return _Outcome(replace(predicted, faults=faults), {**sink.entry, **device_of(predictor)})


_kept: dict[PredictorSettings, Predictor] = {}
"""At most one, for the next case."""


def _predictor(settings: PredictorSettings) -> Predictor:
    if settings not in _kept:
        _kept.clear()  # first, for two may be too large
        _kept[settings] = settings.predictor()
    return _kept[settings]
