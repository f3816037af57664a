"""Predict the cases of a cohort on the workers of an executor: each keeps one predictor and takes a case at a time."""

import traceback
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from threading import Lock

from dataset_conversion.find_cases import RawCase
from dataset_conversion.image_cases import CaseSet
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import file_state
from nnunet_resunet_ds.base.parallel import for_each
from nnunet_resunet_ds.inference.pipeline import CaseOutcome, Predicted, ResultFolder, Writer, predict_one
from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings
from nnunet_resunet_ds.inference.predictor import Predictor

States = tuple[tuple[int, ...], ...]
"""Of checkpoints on disk: a worker that has read earlier ones of the same names reads them again."""

_ONE_AT_A_TIME = Lock()
"""A worker may have several threads, and its predictor has one set of buffers."""
_kept: list[tuple[PredictionSettings, States, Predictor]] = []
"""At most one, for the next case."""


def predict_cases_on(
    executor: Executor, settings: PredictionSettings, case_set: CaseSet, folder: ResultFolder, *, resume: bool = False
) -> Predicted:
    """Do what `predict_cases` does in the processes of an executor, which must see the images, models and output.

    Args:
        executor: of processes with a GPU or cores each.
        settings: how each of them predicts; `check_models` has passed them.
        case_set: the cases.
        folder: where they go; its writer works in the processes, and what came of a case is noted here.
        resume: leave out the cases that are there already.
    """
    predicted = Predicted(folder)
    cases = predicted.unfinished(case_set, resume=resume)
    states = tuple(tuple(file_state(file)) for model in settings.models for file in model.checkpoints)
    without_cases = replace(case_set, cases=[], problems={})
    work = partial(_predict_here, settings=settings, states=states, case_set=without_cases, writer=folder.writer)

    def take(case: RawCase, outcome: CaseOutcome | InputError) -> None:
        if isinstance(outcome, InputError):
            outcome = CaseOutcome(case.case_id, failure=str(outcome))
        predicted.add(outcome)

    for_each(cases, work, "predict", executor, name=lambda case: case.case_id, settle=take)
    return predicted


def _predict_here(
    case: RawCase, settings: PredictionSettings, states: States, case_set: CaseSet, writer: Writer
) -> CaseOutcome:
    """Predict and write one case in this process.

    Raises:
        InputError: the model cannot be used here.
    """
    with _ONE_AT_A_TIME:
        predictor = _predictor(settings, states)
        outcome = predict_one(predictor, replace(case_set, cases=[case]), writer)
    if outcome.fault is None:
        return replace(outcome, entry={**outcome.entry, **predictor.hardware})
    # An exception would lose its traceback on the way, or could not be made again.
    fault = RuntimeError("in a worker:\n" + "".join(traceback.format_exception(outcome.fault)))
    return replace(outcome, fault=fault)


def _predictor(settings: PredictionSettings, states: States) -> Predictor:
    """Return the predictor that is kept, or make it."""
    if not _kept or _kept[0][:2] != (settings, states):
        _kept.clear()  # first, because memory may not hold two
        _kept.append((settings, states, Predictor(settings.load_models(), settings)))
    return _kept[0][2]
