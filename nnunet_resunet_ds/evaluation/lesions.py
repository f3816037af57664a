"""Lesion-wise Dice of BraTS 2023: every lesion counts alike, and so does every false one.

After the official algorithm (challenge metrics of 2023, adult glioma). What that dilates once a lesion is done here
once a case: the dilation of all lesions together has the dilation of each as its components, and lesions whose
dilations touch are one lesion by definition.
"""

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]

DILATIONS = 3
"""Lesions that come within twice as many voxels are one; predictions match a lesion from as far."""
MIN_VOLUME = 50.0
"""Lesions of at most so many mm³ do not count in the mean."""
CONNECTIVITY = 26
_NEIGHBOURS = ndimage.generate_binary_structure(3, 2)


def lesion_dice(
    reference: Mask,
    prediction: Mask,
    voxel_volume: float,
    dilations: int = DILATIONS,
    min_volume: float = MIN_VOLUME,
) -> float:
    """Return the mean Dice over lesions and false components, each of which counts as 0; 1 where there is neither.

    Args:
        reference: (Z, Y, X) of one region.
        prediction: of the same shape.
        voxel_volume: in mm³.
        dilations: of the reference, by 18 neighbours.
        min_volume: in mm³.
    """
    reach = np.pad(reference, dilations)
    if dilations:
        reach = ndimage.binary_dilation(reach, _NEIGHBOURS, iterations=dilations)
    zones = cc3d.connected_components(reach, connectivity=CONNECTIVITY)
    components = cc3d.connected_components(np.pad(prediction, dilations), connectivity=CONNECTIVITY)
    lesions = np.where(np.pad(reference, dilations), zones, 0)
    sizes = np.bincount(lesions.ravel(), minlength=int(zones.max()) + 1)
    hits = np.bincount(lesions[components > 0], minlength=len(sizes))
    matches = _pairs(zones, components)
    predicted_sizes = np.bincount(components.ravel())
    matched_sizes = np.bincount(matches[0], weights=predicted_sizes[matches[1]], minlength=len(sizes))
    n_false = len(predicted_sizes) - 1 - len(np.unique(matches[1]))
    kept = sizes * voxel_volume > min_volume
    kept[0] = False
    scores = 2 * hits[kept] / (sizes[kept] + matched_sizes[kept])
    n = len(scores) + n_false
    return float(scores.sum() / n) if n else 1.0


def _pairs(zones: NDArray[np.integer], components: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return the pairs (zone, component) that share a voxel: (2, n)."""
    both = (zones > 0) & (components > 0)
    pairs: NDArray[np.integer] = np.unique(np.stack([zones[both], components[both]]), axis=1)
    return pairs
