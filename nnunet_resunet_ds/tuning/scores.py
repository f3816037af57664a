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
from nnunet_resunet_ds.evaluation.lesions import ReferenceLesions
from nnunet_resunet_ds.tuning.stored_case import StoredCase, read_stored_case
from postprocessing.case import postprocess
from postprocessing.config import PostprocessingConfig

DICE = "dice"
METRICS = (DICE, "lesion-dice")
"""Mean over regions of Dice, or of lesion-wise Dice; an empty region scores 1 for an empty prediction, else 0."""
FLOOR = 0.1
"""Mean Dice of the first region on cases that were not trained on; the first epoch of a training is above it."""

Configs = Sequence[PostprocessingConfig]


class Scores:
    """Scores (settings, cases) with a memory.

    Args:
        files: stored cases, read again for each batch of settings.
        metric: one of `METRICS`.
        regions: of the dataset, in the order of the outputs.
        advance: called with the number of settings that are newly scored.
        executor: who scores the cases; None is a thread for each core.
    """

    def __init__(
        self,
        files: Sequence[Path],
        metric: str,
        regions: Sequence[Region] = REGIONS,
        advance: Callable[[int], object] = lambda _: None,
        executor: Executor | None = None,
    ) -> None:
        self._files = files
        self._metric = metric
        self._regions = tuple(regions)
        self._executor = executor
        self._advance = advance
        self.known: dict[PostprocessingConfig, NDArray[np.float64]] = {}
        """Settings → a score a case."""

    def __call__(self, configs: Configs) -> NDArray[np.float64]:
        """Return the score of every case under each of the settings: (settings, cases)."""
        new = [config for config in dict.fromkeys(configs) if config not in self.known]
        if new:
            score = partial(score_file, configs=new, metric=self._metric, regions=self._regions)
            with executor_or_threads(self._executor) as pool:
                scored = pool.map(score, self._files)
                columns = [_next_of(scored, file) for file in self._files]
            self.known |= dict(zip(new, np.array(columns).T, strict=True))
            self._advance(len(new))
        return np.array([self.known[config] for config in configs])


def _next_of(scored: Iterator[list[float]], file: Path) -> list[float]:
    try:
        return next(scored)
    except WorkerDiedError as error:
        msg = f"{file}: {error}"
        raise InputError(msg) from error


def score_file(file: Path, configs: Configs, metric: str, regions: Sequence[Region]) -> list[float]:
    """Return the score of a stored case under each of the settings."""
    return list(map(scorer(read_stored_case(file), metric, regions), configs))


def scorer(
    case: StoredCase, metric: str, regions: Sequence[Region] = REGIONS
) -> Callable[[PostprocessingConfig], float]:
    """Return a function from settings to the score of a case, from 0 to 1.

    Args:
        case: whose reference is looked at once, whatever the number of settings.
        metric: one of `METRICS`.
        regions: that are scored.
    """
    references = [region.mask(case.reference) for region in regions]
    scores: list[Callable[[NDArray[np.bool_]], float]]
    if metric == DICE:
        scores = [partial(dice, reference) for reference in references]
    else:
        scores = [ReferenceLesions(reference, case.voxel_volume).dice for reference in references]

    def score(config: PostprocessingConfig) -> float:
        labels = postprocess(case.probabilities, config, case.voxel_volume)
        return float(np.mean([of(region.mask(labels)) for of, region in zip(scores, regions, strict=True)]))

    return score


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
