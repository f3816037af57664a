"""The rule on all enhancing tumour together: if it is little and uncertain, it becomes NCR (section 5, decision D10).

A case without enhancing tumour scores a Dice of 1 for an empty prediction and 0 for a single stray voxel; that is why
small ET must be certain to stay.
"""

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.regions import Tissue
from postprocessing.components import is_below
from postprocessing.config import PostprocessingConfig
from postprocessing.membership import MEMBERSHIPS, Labels


def remove_doubtful_total(labels: Labels, probabilities: NDArray[np.floating], config: PostprocessingConfig) -> Labels:
    """Return labels (Z, Y, X) whose ET is NCR where it has too few voxels and too low a mean probability."""
    enhancing = labels == Tissue.ET
    values = probabilities[MEMBERSHIPS["et"].channel][enhancing]
    if not 0 < values.size < config.et_total_voxels:
        return labels
    mean = values.mean(dtype=np.float64, keepdims=True)
    if not is_below(mean, config.et_total_probability, values.dtype).item():
        return labels
    return np.where(enhancing, np.uint8(Tissue.NCR), labels)
