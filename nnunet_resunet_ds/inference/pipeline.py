"""Predict many cases in one process: while the network works on one, the next is read and the last is written."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from dataset_conversion.find_cases import RawCase
from dataset_conversion.image_cases import CaseSet, LoadedCase, load_case
from nnunet_resunet_ds.base.case_notes import ABSENT, IMAGE_WARNINGS, IMAGES, MADE_WITH, WARNINGS
from nnunet_resunet_ds.base.counted import counted
from nnunet_resunet_ds.base.errors import InputError, forget_locals, said_of
from nnunet_resunet_ds.base.files import identity_of
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.parallel import n_cores
from nnunet_resunet_ds.base.progress_bars import bar_interval
from nnunet_resunet_ds.base.regions import Region
from nnunet_resunet_ds.inference.input_warnings import input_warnings, training_case_warnings
from nnunet_resunet_ds.inference.predictor import Predictor
from nnunet_resunet_ds.inference.preprocessing import Preprocessed, Probabilities
from nnunet_resunet_ds.inference.spread import Spread
from nnunet_resunet_ds.uncertainty.region_certainty import CERTAINTY, certainty_of_regions
from postprocessing.case import CHANGES, Change, postprocess_explained
from postprocessing.emptied import emptied_warnings
from postprocessing.probabilities import mean_probabilities

NOTHING_FOUND = "nothing found: the label map is empty, as no voxel reached the thresholds and stayed"
"""A warning about a case."""
MAX_THREADS = 3
"""That read, and as many that write, where the network computes on a GPU: a case may take longer there than in it."""
_CORES_PER_THREAD = 4
_SECONDS_BETWEEN_PASSES = 0.5
"""That the progress within a case is drawn."""

Item = TypeVar("Item")
Result = TypeVar("Result")


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
    regions: tuple[Region, ...]
    """Of the probabilities."""
    spread: Spread | None
    """How far flips, folds and models lie apart, where that was asked for."""


@dataclass(frozen=True)
class CaseOutcome:
    """What came of one case: it is written, or it failed."""

    case_id: str
    entry: Mapping[str, Any] = field(default_factory=dict)
    """What ``run.json`` says of a case that is written."""
    failure: str | None = None
    """A line for each thing that is wrong."""
    fault: Exception | None = None
    """What was raised, if the input is not known to be at fault."""


class Writer(Protocol):
    """Writes predicted cases; small enough to be sent to another process with each case."""

    def write_case(self, case: PredictedCase) -> None:
        """Write one case."""


class ResultFolder(Protocol):
    """A folder that takes predicted cases, and notes what came of each."""

    @property
    def writer(self) -> Writer:
        """Return what writes the cases."""

    def is_finished(self, case: RawCase) -> bool:
        """Tell whether a case is there from an earlier run, made from the images that it has now."""

    def note(self, outcome: CaseOutcome) -> None:
        """Note what came of a case; threads may call this at once."""


@dataclass
class Predicted:
    """What came of a set of cases, noted in the folder as it is known."""

    folder: ResultFolder
    written: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Finished by an earlier run."""
    failures: dict[str, str] = field(default_factory=dict)
    """Case id → a line for each thing that is wrong."""
    faults: dict[str, Exception] = field(default_factory=dict)
    """Of these failures, those whose input is not known to be at fault."""
    warnings: dict[str, list[str]] = field(default_factory=dict)
    absent: dict[str, list[str]] = field(default_factory=dict)
    """Case id → channels that it lacks, of the cases that lack any."""

    def add(self, outcome: CaseOutcome) -> None:
        """Take in and note what came of a case."""
        if outcome.failure is None:
            self.written.append(outcome.case_id)
            self.warnings[outcome.case_id] = list(outcome.entry[WARNINGS])
            if outcome.entry[ABSENT]:
                self.absent[outcome.case_id] = list(outcome.entry[ABSENT])
        else:
            self.failures[outcome.case_id] = outcome.failure
            if outcome.fault is not None:
                self.faults[outcome.case_id] = outcome.fault
        self.folder.note(outcome)

    def unfinished(self, case_set: CaseSet, *, resume: bool) -> list[RawCase]:
        """Take in what is known before any work, and return the other cases.

        Args:
            case_set: the cases, some of which may be known to fail.
            resume: leave out the cases that are finished.
        """
        for case_id, lines in case_set.problems.items():
            self.add(CaseOutcome(case_id, failure="\n".join(lines)))
        cases = [case for case in case_set.cases if case.case_id not in case_set.problems]
        if resume:
            self.skipped = [case.case_id for case in cases if self.folder.is_finished(case)]
        skipped = set(self.skipped)
        return [case for case in cases if case.case_id not in skipped]


@dataclass(frozen=True)
class _ReadCase:
    """A case that only waits for the network."""

    grid: sitk.Image
    cases: list[Preprocessed]
    """For each model."""
    warnings: list[str]
    images: dict[str, Mapping[str, Any]]
    """Channel → identity of its file."""
    absent: tuple[str, ...]
    """Channels that the case lacks."""


def predict_cases(predictor: Predictor, case_set: CaseSet, folder: ResultFolder, *, resume: bool = False) -> Predicted:
    """Predict every case and write each as soon as it is done; a case that fails does not stop the others.

    Args:
        predictor: whose post-processing is used, too.
        case_set: the cases.
        folder: where they go.
        resume: leave out the cases that are there already.
    """
    predicted = Predicted(folder)
    cases = predicted.unfinished(case_set, resume=resume)
    _Pipeline(predictor, case_set, folder.writer, predicted.add).run(cases)
    return predicted


def predict_one(predictor: Predictor, case_set: CaseSet, writer: Writer) -> CaseOutcome:
    """Predict and write the one case of a set, without progress bars."""
    outcomes: list[CaseOutcome] = []
    _Pipeline(predictor, case_set, writer, outcomes.append, hide_progress=True).run(case_set.cases)
    return outcomes[-1]


class _Pipeline:
    """Three stages, each with cases of its own: reading, the network (in the main thread), writing.

    Args:
        predictor: what computes.
        case_set: how the files of cases are named.
        writer: what writes cases.
        report: called with what came of each case, in the thread that knows.
        hide_progress: draw no bars.
    """

    def __init__(
        self,
        predictor: Predictor,
        case_set: CaseSet,
        writer: Writer,
        report: Callable[[CaseOutcome], object],
        *,
        hide_progress: bool = False,
    ) -> None:
        self._predictor = predictor
        self._case_set = case_set
        self._writer = writer
        self._report = report
        self._hide = hide_progress
        self._has_said_passes = False
        self._on_others = ""

    def run(self, cases: Sequence[RawCase]) -> None:
        """Take all cases through."""
        self._on_others = "; other cases differ with their size" if len(cases) > 1 else ""
        unwritten: deque[tuple[str, Future[None]]] = deque()
        threads = n_threads_for(self._predictor.device)
        with (
            ThreadPoolExecutor(threads) as reader,
            ThreadPoolExecutor(threads) as writer,
            tqdm(total=len(cases), desc="predict", unit="case", disable=self._hide) as bar,
        ):

            def await_written(at_most: int) -> None:
                while len(unwritten) > at_most:
                    case_id, writing = unwritten.popleft()
                    try:
                        writing.result()
                    except Exception as error:  # the other cases go on
                        self._report(_failed(case_id, error))
                    bar.update()

            for case, reading in ahead(cases, self._read, reader, threads):
                try:
                    read = reading.result()
                    outputs, seconds = self._run_networks(case.case_id, read)
                    unwritten.append((case.case_id, writer.submit(self._write, case.case_id, read, outputs, seconds)))
                except Exception as error:  # the other cases go on
                    self._report(_failed(case.case_id, error))
                    bar.update()
                await_written(threads)
            await_written(0)

    def _read(self, case: RawCase) -> _ReadCase:
        loaded = load_case(case, self._case_set.edition, self._case_set.channels)
        if loaded.absent:
            LOG.info("%s: has %s and no %s", case.case_id, ", ".join(loaded.identities), ", ".join(loaded.absent))
        with said_of(f"{case.folder}: {case.case_id}"):
            absent = self._absent_channels(loaded)
            cases = self._predictor.preprocess(loaded.images, loaded.spacing, loaded.grid, absent)
        models = self._predictor.models
        warnings = [*training_case_warnings(case, models), *input_warnings(loaded, cases, models)]
        images = {**loaded.identities, **_identities_of_zeros(case, loaded.absent)}
        return _ReadCase(loaded.grid, cases, warnings, images, loaded.absent)

    def _absent_channels(self, loaded: LoadedCase) -> list[str]:
        """Return the channels that a case lacks, by the names of the model."""
        names = zip(self._predictor.channels, self._case_set.channels, strict=True)
        return [of_model for of_model, of_case in names if of_case in loaded.absent]

    def _run_networks(self, case_id: str, read: _ReadCase) -> tuple[list[Tensor], float]:
        """Return the averaged outputs of each model, and the seconds that they took."""
        start = time.monotonic()
        total = self._predictor.n_forward_passes(read.cases)
        if not self._has_said_passes and not self._hide:
            LOG.info("%s: %s of the network%s", case_id, counted(total, "forward pass", "es"), self._on_others)
        self._has_said_passes = True
        interval = bar_interval(_SECONDS_BETWEEN_PASSES)
        look: dict[str, Any] = {"leave": False, "position": 1, "mininterval": interval, "disable": self._hide}
        with tqdm(total=total, desc=f"  {case_id}", unit="pass", **look) as bar:
            try:
                outputs = self._predictor.run_networks(read.cases, bar.update)
            except torch.OutOfMemoryError as error:
                msg = f"{case_id}: out of memory on {self._predictor.device} even for one tile; use -device cpu"
                raise InputError(msg) from error
        seconds = time.monotonic() - start
        LOG.debug("%s: %d forward passes in %.2f s", case_id, total, seconds)
        return outputs, seconds

    def _write(self, case_id: str, read: _ReadCase, outputs: list[Tensor], seconds: float) -> None:
        """Restore, post-process and write a case."""
        probabilities, spread = self._predictor.restore_with_spread(outputs, read.cases)
        with said_of(case_id):
            volume = math.prod(read.cases[0].properties["spacing"])
            labels, changes = postprocess_explained(probabilities, self._predictor.postprocessing, volume)
        first_case, first_model = read.cases[0], self._predictor.models[0]
        self._writer.write_case(
            PredictedCase(
                case_id,
                labels,
                probabilities,
                first_case.properties,
                first_model.reader,
                read.grid,
                first_model.regions,
                spread,
            )
        )
        entry = {
            IMAGES: read.images,
            ABSENT: list(read.absent),
            "network_seconds": round(seconds, 2),
            IMAGE_WARNINGS: read.warnings,
            MADE_WITH: [weights for model in self._predictor.models for weights in model.identities.values()],
            WARNINGS: [*read.warnings, *self._result_warnings(labels, changes)],
            CHANGES: list(map(asdict, changes)),
            "mean_probability": mean_probabilities(labels, probabilities, first_model.regions),
            CERTAINTY: self._certainty(labels, probabilities, spread, volume),
        }
        self._report(CaseOutcome(case_id, entry))

    def _result_warnings(self, labels: NDArray[np.uint8], changes: Sequence[Change]) -> list[str]:
        """Return what is odd about a label map."""
        return [*emptied_warnings(changes, self._predictor.postprocessing), *([] if labels.any() else [NOTHING_FOUND])]

    def _certainty(
        self, labels: NDArray[np.uint8], probabilities: Probabilities, spread: Spread | None, voxel_volume: float
    ) -> dict[str, dict[str, float]]:
        """Return region → what ``run.json`` says of how sure its prediction is."""
        over_folds, n_folds = (spread.over_folds, spread.n_folds) if spread else (None, None)
        regions = self._predictor.models[0].regions
        found = certainty_of_regions(labels, probabilities, regions, voxel_volume, over_folds, n_folds)
        learnt = self._predictor.expected_dice
        expected = learnt(found) if learnt else {}
        return {name: region.to_mapping(expected.get(name)) for name, region in found.items()}


def _identities_of_zeros(case: RawCase, absent: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return what tells the files of absent channels from others: images of zeros, where there are any."""
    return {channel: identity_of(case.images[channel]) for channel in absent if channel in case.images}


def _failed(case_id: str, error: Exception) -> CaseOutcome:
    """Return what came of a case that an error ended."""
    if isinstance(error, InputError):
        return CaseOutcome(case_id, failure=str(error))
    if isinstance(error, OSError):
        where = f"{case_id}: {error.filename}" if error.filename else case_id
        return CaseOutcome(case_id, failure=f"{where}: {error.strerror or error}")
    forget_locals(error)
    line = f"{case_id}: failed unexpectedly: {type(error).__name__}: {error}"
    return CaseOutcome(case_id, failure=line, fault=error)


def n_threads_for(device: torch.device) -> int:
    """Return how many cases to read at once, and how many to write, while the network computes on a device.

    As many predicted cases may wait in memory to be written before the network waits for them. On a CPU it is one:
    the network has the cores.
    """
    return max(1, min(MAX_THREADS, n_cores() // _CORES_PER_THREAD)) if device.type == "cuda" else 1


def ahead(
    items: Sequence[Item], work: Callable[[Item], Result], pool: ThreadPoolExecutor, n: int
) -> Iterator[tuple[Item, "Future[Result]"]]:
    """Yield each item with its result to be, while the work on the next n has begun or waits for a thread."""
    futures = deque(pool.submit(work, item) for item in items[:n])
    for number, item in enumerate(items):
        futures.extend(pool.submit(work, following) for following in items[number + n : number + n + 1])
        yield item, futures.popleft()
