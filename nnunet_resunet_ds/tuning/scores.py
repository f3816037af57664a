"""Score cases under settings of the post-processing, each once, and refuse a model that scores like a mistake."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.errors import InputError, WorkerDiedError
from nnunet_resunet_ds.base.parallel import executor_or_threads
from nnunet_resunet_ds.base.regions import REGIONS, WT
from nnunet_resunet_ds.evaluation.dice import dice, region_dice
from nnunet_resunet_ds.evaluation.lesions import ReferenceLesions
from nnunet_resunet_ds.tuning.stored_case import StoredCase, read_stored_case
from postprocessing.case import postprocess
from postprocessing.config import PostprocessingConfig

DICE = "dice"
METRICS = (DICE, "lesion-dice")
"""Mean over WT, TC and ET of Dice, or of lesion-wise Dice; an empty region scores 1 for an empty prediction, else 0."""
FLOOR = 0.1
"""Mean Dice of whole tumour on cases that were not trained on; the first epoch of a training is above it."""

Configs = Sequence[PostprocessingConfig]


class Scores:
    """Scores (settings, cases) with a memory.

    Args:
        files: stored cases, read again for each batch of settings.
        metric: one of `METRICS`.
        advance: called with the number of settings that are newly scored.
        executor: who scores the cases; None is a thread for each core.
    """

    def __init__(
        self,
        files: Sequence[Path],
        metric: str,
        advance: Callable[[int], object] = lambda _: None,
        executor: Executor | None = None,
    ) -> None:
        self._files = files
        self._metric = metric
        self._executor = executor
        self._advance = advance
        self.known: dict[PostprocessingConfig, NDArray[np.float64]] = {}
        """Settings → a score a case."""

    def __call__(self, configs: Configs) -> NDArray[np.float64]:
        """Return the score of every case under each of the settings: (settings, cases)."""
        new = [config for config in dict.fromkeys(configs) if config not in self.known]
        if new:
            score = partial(score_file, configs=new, metric=self._metric)
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


def score_file(file: Path, configs: Configs, metric: str) -> list[float]:
    """Return the score of a stored case under each of the settings."""
    return list(map(scorer(read_stored_case(file), metric), configs))


def scorer(case: StoredCase, metric: str) -> Callable[[PostprocessingConfig], float]:
    """Return a function from settings to the score of a case, from 0 to 1.

    Args:
        case: whose reference is looked at once, whatever the number of settings.
        metric: one of `METRICS`.
    """
    if metric == DICE:
        return lambda config: _mean(region_dice(case.reference, postprocess(case.probabilities, config)).values())
    lesions = {region: ReferenceLesions(region.mask(case.reference), case.voxel_volume) for region in REGIONS}

    def score(config: PostprocessingConfig) -> float:
        labels = postprocess(case.probabilities, config)
        return _mean(lesions[region].dice(region.mask(labels)) for region in REGIONS)

    return score


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def check_above_floor(files: Sequence[Path], config: PostprocessingConfig) -> None:
    """Refuse validation cases on which the best settings find next to nothing of the tumour.

    Args:
        files: stored cases.
        config: the best settings that were found.

    Raises:
        InputError: the mean Dice of whole tumour, over cases that have one, is below `FLOOR`.
    """
    scores = [
        dice(WT.mask(case.reference), WT.mask(postprocess(case.probabilities, config)))
        for case in map(read_stored_case, files)
        if case.reference.any()
    ]
    if scores and np.mean(scores) < FLOOR:
        msg = (
            f"the best settings reach a whole-tumour Dice of {np.mean(scores):.4f} on the validation cases, and no "
            f"trained model is below {FLOOR}: the probabilities and the references are not of the same images, or lie "
            "on other axes, or the training failed. Look at progress.png of the folds, and whether dataset and split "
            "are still those of the training; nothing is stored"
        )
        raise InputError(msg)
