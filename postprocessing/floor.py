"""A score that no trained model is below: what scores less is no model that needs tuning, but a mistake."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.regions import WT
from nnunet_resunet_ds.evaluation.dice import dice
from postprocessing.case import postprocess
from postprocessing.config import PostprocessingConfig
from postprocessing.stored_case import read_stored_case

FLOOR = 0.1
"""Mean Dice of whole tumour on cases that were not trained on; the first epoch of a training is above it."""


def check_above_floor(files: Sequence[Path], config: PostprocessingConfig) -> None:
    """Refuse validation cases on which the best settings find next to nothing of the tumour.

    Args:
        files: stored cases.
        config: the best settings that were found.

    Raises:
        InputError: the mean Dice of whole tumour, over cases that have one, is below `FLOOR`.
    """
    cases = [read_stored_case(file) for file in files]
    scores = [
        dice(WT.mask(case.reference), WT.mask(postprocess(case.probabilities, config)))
        for case in cases
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
