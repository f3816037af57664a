"""Predict many cases in one process: while the network works on one, the next is read and the last is written."""

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from dataset_conversion.image_cases import CaseSet, load_case
from dataset_conversion.scan import RawCase
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import identity_of
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.inference.predictor import Predictor
from nnunet_resunet_ds.inference.preprocessing import Preprocessed, Probabilities, input_warnings
from postprocessing.case import postprocess_explained
from postprocessing.probabilities import mean_probabilities

IMAGES = "images"
"""What is noted of a case under this name: channel → identity of the file that it was predicted from."""


@dataclass(frozen=True)
class PredictedCase:
    """One case, on the voxels of its images."""

    case_id: str
    labels: NDArray[np.uint8]
    """(Z, Y, X) in nnU-Net's values, post-processed."""
    probabilities: Probabilities
    """(R, Z, Y, X)."""
    properties: Mapping[str, Any]
    """nnU-Net's of the preprocessing."""
    reader: str
    """The model's, of images: see `nnunet_resunet_ds.base.reader_space`."""
    grid: sitk.Image
    """Where the images lie."""


class Writer(Protocol):
    """Keeps predicted cases; small enough to be sent to another process with each case."""

    def write_case(self, case: PredictedCase) -> None:
        """Keep one case."""


class Sink(Protocol):
    """Where predicted cases go, and what is to be said of them."""

    @property
    def writer(self) -> Writer:
        """Return what keeps the cases."""

    def is_finished(self, case: RawCase) -> bool:
        """Tell whether a case is there from an earlier run, made from the images that it has now."""

    def note(self, case_id: str, entry: Mapping[str, Any]) -> None:
        """Keep what is to be said of a case that is written."""

    def note_failure(self, case_id: str, reason: str) -> None:
        """Keep why a case failed."""


MAX_UNWRITTEN = 1
"""Predicted cases that may wait in memory to be written before the network waits for them."""

_SECONDS_BETWEEN_LINES, _SECONDS_BETWEEN_LINES_IN_A_FILE = 0.5, 30.0
"""Of the progress within a case."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class Predicted:
    """What came of a set of cases."""

    written: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Finished by an earlier run."""
    failures: dict[str, str] = field(default_factory=dict)
    """Case id → a line for each thing that is wrong."""
    faults: dict[str, Exception] = field(default_factory=dict)
    """Of these failures, those that are no fault of the input that we know."""
    warnings: dict[str, list[str]] = field(default_factory=dict)

    def add(self, other: "Predicted") -> None:
        """Take in what came of further cases."""
        self.written += other.written
        self.skipped += other.skipped
        self.failures |= other.failures
        self.faults |= other.faults
        self.warnings |= other.warnings


@dataclass(frozen=True)
class _Ready:
    """A case that only waits for the network."""

    grid: sitk.Image
    cases: list[Preprocessed]
    warnings: list[str]
    images: dict[str, dict[str, Any]]
    """Channel → identity of its file."""


def predict_cases(
    predictor: Predictor, case_set: CaseSet, sink: Sink, *, resume: bool = False, show_progress: bool = True
) -> Predicted:
    """Predict every case and write each as soon as it is done; a case that fails does not stop the others.

    Args:
        predictor: its post-processing is used, too.
        case_set: the cases.
        sink: where to.
        resume: leave out the cases that are there already.
        show_progress: draw bars.
    """
    report, cases = sorted_out(case_set, sink, resume=resume)
    _Pipeline(predictor, case_set, sink, report, show_progress=show_progress).run(cases)
    return report


def sorted_out(case_set: CaseSet, sink: Sink, *, resume: bool) -> tuple[Predicted, list[RawCase]]:
    """Return what is known before any work: cases that fail and, where that counts, are there; and the others."""
    report = Predicted()
    for case_id, lines in case_set.problems.items():
        report.failures[case_id] = "\n".join(lines)
        sink.note_failure(case_id, report.failures[case_id])
    cases = [case for case in case_set.cases if case.case_id not in case_set.problems]
    if resume:
        report.skipped = [case.case_id for case in cases if sink.is_finished(case)]
    skipped = set(report.skipped)
    return report, [case for case in cases if case.case_id not in skipped]


class _Pipeline:
    """Three stages, each with a case of its own: reading, the network (in the main thread), writing."""

    def __init__(
        self, predictor: Predictor, case_set: CaseSet, sink: Sink, report: Predicted, *, show_progress: bool
    ) -> None:
        self._predictor = predictor
        self._case_set = case_set
        self._sink = sink
        self._writer = sink.writer
        self._report = report
        self._hide = not show_progress

    def run(self, cases: Sequence[RawCase]) -> None:
        unwritten: deque[tuple[str, Future[None]]] = deque()
        with (
            ThreadPoolExecutor(1) as reader,
            ThreadPoolExecutor(1) as writer,
            tqdm(total=len(cases), desc="predict", unit="case", disable=self._hide) as bar,
        ):

            def settle() -> None:
                case_id, writing = unwritten.popleft()
                with self._failure_noted(case_id):
                    writing.result()
                bar.update()

            for case, reading in one_ahead(cases, self._read, reader):
                with self._failure_noted(case.case_id):
                    ready = reading.result()
                    outputs, seconds = self._evaluate(case.case_id, ready)
                    writing = writer.submit(self._write, case.case_id, ready, outputs, seconds)
                    unwritten.append((case.case_id, writing))
                if case.case_id in self._report.failures:
                    bar.update()
                while len(unwritten) > MAX_UNWRITTEN:
                    settle()
            while unwritten:
                settle()

    def _read(self, case: RawCase) -> _Ready:
        loaded = load_case(case, self._case_set.edition, self._case_set.channels)
        try:
            cases = self._predictor.prepare(loaded.images, loaded.spacing, loaded.grid)
        except InputError as error:
            msg = f"{case.folder}: {case.case_id}: {error}"
            raise InputError(msg) from error
        identities = {path: identity_of(path) for path in set(case.images.values())}
        images = {channel: identities[case.images[channel]] for channel in self._case_set.channels}
        return _Ready(loaded.grid, cases, input_warnings(loaded, cases, self._predictor.models), images)

    def _evaluate(self, case_id: str, ready: _Ready) -> tuple[list[Tensor], float]:
        """Return the averaged outputs of each model, and the seconds that they took."""
        start = time.monotonic()
        total = self._predictor.n_forward_passes(ready.cases)
        interval = _SECONDS_BETWEEN_LINES if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES_IN_A_FILE
        look: dict[str, Any] = {"leave": False, "position": 1, "mininterval": interval, "disable": self._hide}
        with tqdm(total=total, desc=f"  {case_id}", unit="pass", **look) as bar:
            try:
                outputs = self._predictor.evaluate(ready.cases, bar.update)
            except torch.OutOfMemoryError as error:
                msg = f"{case_id}: out of memory on {self._predictor.device} even for one tile; use -device cpu"
                raise InputError(msg) from error
        seconds = time.monotonic() - start
        LOG.debug("%s: %d forward passes in %.2f s", case_id, total, seconds)
        return outputs, seconds

    def _write(self, case_id: str, ready: _Ready, outputs: list[Tensor], seconds: float) -> None:
        probabilities = self._predictor.finish(outputs, ready.cases)
        try:
            labels, changes = postprocess_explained(probabilities, self._predictor.postprocessing)
        except InputError as error:
            msg = f"{case_id}: {error}"
            raise InputError(msg) from error
        first, reader = ready.cases[0], self._predictor.models[0].reader
        self._writer.write_case(PredictedCase(case_id, labels, probabilities, first.properties, reader, ready.grid))
        self._report.written.append(case_id)
        self._report.warnings[case_id] = ready.warnings
        entry = {
            IMAGES: ready.images,
            "network_seconds": round(seconds, 2),
            "warnings": ready.warnings,
            "changes": list(map(asdict, changes)),
            "mean_probability": mean_probabilities(labels, probabilities),
        }
        self._sink.note(case_id, entry)

    def _note_failure(self, case_id: str, message: str) -> None:
        """Keep what is wrong with a case for the end."""
        self._report.failures[case_id] = message
        self._sink.note_failure(case_id, message)

    @contextmanager
    def _failure_noted(self, case_id: str) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            self._note_failure(case_id, str(error))
        except OSError as error:
            self._note_failure(case_id, f"{error.filename or case_id}: {error.strerror or error}")
        except Exception as error:  # the others are not to be lost for it
            self._report.faults[case_id] = error
            self._note_failure(case_id, f"{case_id}: failed unexpectedly: {type(error).__name__}: {error}")


def one_ahead(
    items: Sequence[Item], work: Callable[[Item], Result], pool: ThreadPoolExecutor
) -> Iterator[tuple[Item, "Future[Result]"]]:
    """Yield each item with its result to be, while the work on the next one has begun."""
    futures = deque(pool.submit(work, item) for item in items[:1])
    for number, item in enumerate(items):
        futures.extend(pool.submit(work, following) for following in items[number + 1 : number + 2])
        yield item, futures.popleft()
