"""Scores of cases under settings of the post-processing, each computed once."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.evaluation.dice import region_dice
from nnunet_resunet_ds.evaluation.lesions import lesion_dice
from nnunet_resunet_ds.regions import REGIONS
from postprocessing.case import postprocess
from postprocessing.config import PostprocessingConfig
from postprocessing.search import Configs
from postprocessing.stored_case import StoredCase, read_stored_case

DICE, LESION_DICE = METRICS = ("dice", "lesion-dice")
"""Mean over WT, TC and ET of Dice, or of lesion-wise Dice; an empty region scores 1 for an empty prediction, else 0."""


def case_score(case: StoredCase, config: PostprocessingConfig, metric: str) -> float:
    """Return the score of one case, from 0 to 1."""
    labels = postprocess(case.probabilities, config)
    if metric == DICE:
        return float(np.mean(list(region_dice(case.reference, labels).values())))
    pairs = ((region.mask(case.reference), region.mask(labels)) for region in REGIONS)
    return float(np.mean([lesion_dice(reference, found, case.voxel_volume) for reference, found in pairs]))


class Scores:
    """Scores (settings, cases) with a memory.

    Args:
        files: stored cases, read again for each batch of settings.
        metric: one of `METRICS`.
        advance: called with the number of settings that are newly scored.
    """

    def __init__(self, files: Sequence[Path], metric: str, advance: Callable[[int], object] = lambda _: None) -> None:
        self._files = files
        self._metric = metric
        self._advance = advance
        self.known: dict[PostprocessingConfig, NDArray[np.float64]] = {}
        """Settings → a score a case."""

    def __call__(self, configs: Configs) -> NDArray[np.float64]:
        """Return the score of every case under each of the settings: (settings, cases)."""
        new = [config for config in dict.fromkeys(configs) if config not in self.known]
        if new:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                columns = list(pool.map(lambda file: self._score_file(file, new), self._files))
            self.known |= dict(zip(new, np.array(columns).T, strict=True))
            self._advance(len(new))
        return np.array([self.known[config] for config in configs])

    def _score_file(self, file: Path, configs: Configs) -> list[float]:
        case = read_stored_case(file)
        return [case_score(case, config, self._metric) for config in configs]
