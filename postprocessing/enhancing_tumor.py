"""The enhancing-tumour rules: doubtful ET becomes NCR (paper section 5, decision D10).

A case without enhancing tumour scores a Dice of 1 for an empty prediction and 0 for a single stray voxel; that is why
small ET must be certain to stay.
"""

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from nnunet_resunet_ds.regions import Tissue
from postprocessing.config import PostprocessingConfig


def apply_et_rules(
    labels: NDArray[np.uint8], et_probability: NDArray[np.floating], config: PostprocessingConfig
) -> NDArray[np.uint8]:
    """Return labels in which doubtful enhancing tumour is NCR: first by component, then in total.

    Args:
        labels: (Z, Y, X) in nnU-Net's values.
        et_probability: (Z, Y, X).
        config: sizes in voxels, mean probabilities, connectivity.
    """
    enhancing = labels == Tissue.ET
    if not enhancing.any():
        return labels
    box = find_objects(enhancing.view(np.uint8))
    labels = labels.copy()
    inside, probability = labels[box[0]], et_probability[box[0]]
    inside[doubtful_components(inside == Tissue.ET, probability, config)] = Tissue.NCR
    remaining = inside == Tissue.ET
    if is_doubtful_total(probability[remaining], config):
        inside[remaining] = Tissue.NCR
    return labels


def doubtful_components(
    enhancing: NDArray[np.bool_], probability: NDArray[np.floating], config: PostprocessingConfig
) -> NDArray[np.bool_]:
    """Return where a connected component is both too small and too uncertain."""
    components = cc3d.connected_components(enhancing, connectivity=config.connectivity)
    sizes = np.bincount(components.ravel())
    sums = np.bincount(components.ravel(), weights=probability.ravel())
    means = (sums / np.maximum(sizes, 1)).astype(probability.dtype)
    limit = probability.dtype.type(config.et_component_probability)  # so that 0.9 in float32 is not below 0.9
    doubtful = (sizes < config.et_component_voxels) & (means < limit)
    doubtful[0] = False  # the background
    marked: NDArray[np.bool_] = doubtful[components]
    return marked


def is_doubtful_total(probabilities: NDArray[np.floating], config: PostprocessingConfig) -> bool:
    """Tell whether all enhancing voxels together are too few and too uncertain.

    Args:
        probabilities: of each enhancing voxel (n,).
        config: the total size and mean probability.
    """
    if not 0 < probabilities.size < config.et_total_voxels:
        return False
    as_given = probabilities.dtype.type
    return bool(as_given(probabilities.mean(dtype=np.float64)) < as_given(config.et_total_probability))
