"""The whole post-processing of one case."""

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.regions import ET, REGIONS
from postprocessing.config import PostprocessingConfig
from postprocessing.enhancing_tumor import apply_et_rules
from postprocessing.thresholds import apply_thresholds

_ET_CHANNEL = REGIONS.index(ET)


def postprocess(probabilities: NDArray[np.floating], config: PostprocessingConfig) -> NDArray[np.uint8]:
    """Turn region probabilities into a label map.

    Args:
        probabilities: (R, Z, Y, X): WT, TC, ET, then further disjoint regions as configured.
        config: thresholds and rules, for example ``PostprocessingConfig.paper()``.

    Returns:
        Labels (Z, Y, X) in nnU-Net's values: 0 background, 1 ED, 2 NCR, 3 ET, and those of the further regions.

    Raises:
        InputError: the array is not (R, Z, Y, X), or not probabilities.
    """
    labels = apply_thresholds(probabilities, config)
    return apply_et_rules(labels, probabilities[_ET_CHANNEL], config)
