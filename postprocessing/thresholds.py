"""Region probabilities to labels by thresholds, nested as in paper section 5 (decision D9) or as nnU-Net paints."""

import operator

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.regions import REGIONS, Tissue
from postprocessing.config import PostprocessingConfig


def apply_thresholds(probabilities: NDArray[np.floating], config: PostprocessingConfig) -> NDArray[np.uint8]:
    """Return labels (Z, Y, X) in nnU-Net's values; a voxel at a threshold is foreground (D9), for nnU-Net it is not.

    Args:
        probabilities: (R, Z, Y, X); WT, TC, ET, then the further regions in the order of ``config.further``.
        config: the thresholds.

    Raises:
        InputError: the shape is not (R, Z, Y, X) with R from 3 to 3 plus the configured further regions.
    """
    check_probabilities(probabilities, config)
    wt, tc, et, *further = probabilities
    # Python floats, so that numpy compares in the dtype of the probabilities: 0.45 in float32 is not below 0.45
    reaches = operator.ge if config.nested else operator.gt
    whole_tumour = reaches(wt, float(config.wt))
    tumour_core = reaches(tc, float(config.tc))
    enhancing = reaches(et, float(config.et))
    if config.nested:
        tumour_core &= whole_tumour
        enhancing &= tumour_core
    labels = np.full(wt.shape, Tissue.BACKGROUND, dtype=np.uint8)
    labels[whole_tumour] = Tissue.ED
    labels[tumour_core] = Tissue.NCR
    labels[enhancing] = Tissue.ET
    for probability, region in zip(further, config.further, strict=False):
        labels[reaches(probability, float(region.threshold))] = region.label
    return labels


def check_probabilities(probabilities: NDArray[np.floating], config: PostprocessingConfig) -> None:
    """Refuse an array that is not region probabilities.

    Raises:
        InputError: wrong number of axes or regions, or values that are not finite or outside 0 to 1.
    """
    most = len(REGIONS) + len(config.further)
    if probabilities.ndim != 4 or not len(REGIONS) <= probabilities.shape[0] <= most:
        msg = (
            f"probabilities must be (R, Z, Y, X) with R from {len(REGIONS)} to {most}; got shape {probabilities.shape}"
        )
        raise InputError(msg)
    # both comparisons are false for NaN
    if not (probabilities.min(initial=0) >= 0 and probabilities.max(initial=1) <= 1):
        msg = "probabilities must be finite and from 0 to 1; these are not (logits, or NaN from a broken model?)"
        raise InputError(msg)
