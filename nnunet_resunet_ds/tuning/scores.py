"""Score cases under settings of the post-processing, each once, and refuse a model that scores like a mistake."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.errors import InputError, WorkerDiedError
from nnunet_resunet_ds.base.parallel import executor_or_threads
from nnunet_resunet_ds.base.regions import REGIONS, Region
from nnunet_resunet_ds.evaluation.dice import dice
from nnunet_resunet_ds.tuning.case_scorer import CaseScorer
from nnunet_resunet_ds.tuning.case_stages import KEPT_BYTES
from nnunet_resunet_ds.tuning.metrics import DICE, Metric
from nnunet_resunet_ds.tuning.stored_case import read_stored_case
from postprocessing.case import postprocess
from postprocessing.config import PostprocessingConfig

FLOOR = 0.1
"""Mean Dice of the first region on cases that were not trained on; the first epoch of a training is above it."""
MEMORY = 4 * 2**30
"""Bytes of the cases that stay in memory; the others are read again for each batch of settings."""

Configs = Sequence[PostprocessingConfig]


class Scores:
    """Goodness (settings, cases) with a memory.

    Args:
        files: stored cases.
        metric: what counts.
        regions: of the dataset, in the order of the outputs.
        advance: called with the number of settings that are newly scored.
        executor: who scores the cases, and reads them for each batch of settings; None is a thread for each core, and
            cases stay in `MEMORY`.
    """

    def __init__(
        self,
        files: Sequence[Path],
        metric: Metric = DICE,
        regions: Sequence[Region] = REGIONS,
        advance: Callable[[int], object] = lambda _: None,
        executor: Executor | None = None,
    ) -> None:
        self.metric = metric
        self.files = files
        self._regions = tuple(regions)
        self._executor = executor
        self.advance = advance
        self._kept: dict[Path, CaseScorer] = {}
        self._kept_bytes = 0
        self.known: dict[PostprocessingConfig, NDArray[np.float64]] = {}
        """Settings → the goodness of each case."""

    def __call__(self, configs: Configs) -> NDArray[np.float64]:
        """Return the goodness of every case under each of the settings: (settings, cases)."""
        new = [config for config in dict.fromkeys(configs) if config not in self.known]
        if new:
            score = partial(score_file, configs=new, metric=self.metric, regions=self._regions)
            with executor_or_threads(self._executor) as pool:
                scored = pool.map(score if self._executor else partial(self._score_kept, configs=new), self.files)
                columns = [_next_of(scored, file) for file in self.files]
            self.known |= dict(zip(new, np.array(columns).T, strict=True))
            self.advance(len(new))
        return np.array([self.known[config] for config in configs])

    def _score_kept(self, file: Path, configs: Configs) -> list[float]:
        scorer = self._kept.get(file) or self._read(file)
        return list(map(scorer, configs))

    def _read(self, file: Path) -> CaseScorer:
        case = read_stored_case(file)
        scorer = CaseScorer(case, self.metric, self._regions)
        n_bytes = case.probabilities.nbytes + case.reference.nbytes + KEPT_BYTES
        if self._kept_bytes + n_bytes <= MEMORY:
            self._kept_bytes += n_bytes
            self._kept[file] = scorer
        return scorer


def mean_of(goodness: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over cases (…, cases) that have a number; not a number where none has."""
    there = ~np.isnan(goodness)
    n = there.sum(axis=-1)
    means: NDArray[np.float64] = np.where(there, goodness, 0).sum(axis=-1) / np.where(n, n, np.nan)
    return means


def _next_of(scored: Iterator[list[float]], file: Path) -> list[float]:
    try:
        return next(scored)
    except WorkerDiedError as error:
        msg = f"{file}: {error}"
        raise InputError(msg) from error


def score_file(file: Path, configs: Configs, metric: Metric, regions: Sequence[Region]) -> list[float]:
    """Return the goodness of a stored case under each of the settings."""
    return list(map(CaseScorer(read_stored_case(file), metric, regions), configs))


def check_above_floor(files: Sequence[Path], config: PostprocessingConfig, region: Region) -> None:
    """Refuse validation cases on which the best settings find next to nothing of the first region.

    Args:
        files: stored cases.
        config: the best settings that were found.
        region: the first of the dataset.

    Raises:
        InputError: its mean Dice, over cases that have it, is below `FLOOR`.
    """
    scores = [
        dice(region.mask(case.reference), region.mask(postprocess(case.probabilities, config, case.voxel_volume)))
        for case in map(read_stored_case, files)
        if region.mask(case.reference).any()
    ]
    if scores and np.mean(scores) < FLOOR:
        msg = (
            f"the best settings reach a Dice of {np.mean(scores):.4f} of {region.name} on the validation cases, and no "
            f"trained model is below {FLOOR}: the probabilities and the references are not of the same images, or lie "
            "on other axes, or the training failed. Look at progress.png of the folds, and whether dataset and split "
            "are still those of the training; nothing is stored"
        )
        raise InputError(msg)
