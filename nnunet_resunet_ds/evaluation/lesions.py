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


class ReferenceLesions:
    """The lesions of one region of a reference, ready to score any number of predictions.

    Args:
        reference: (Z, Y, X).
        voxel_volume: in mm³.
        dilations: of the reference, by 18 neighbours.
        min_volume: in mm³.
    """

    def __init__(
        self, reference: Mask, voxel_volume: float, dilations: int = DILATIONS, min_volume: float = MIN_VOLUME
    ) -> None:
        self._margin = dilations
        padded = np.pad(reference, dilations)
        reach = ndimage.binary_dilation(padded, _NEIGHBOURS, iterations=dilations) if dilations else padded
        self._zones = cc3d.connected_components(reach, connectivity=CONNECTIVITY)
        self._lesions = np.where(padded, self._zones, 0)
        self._sizes = np.bincount(self._lesions.ravel(), minlength=int(self._zones.max(initial=0)) + 1)
        self._counts = self._sizes * voxel_volume > min_volume
        self._counts[0] = False  # outside

    def dice(self, prediction: Mask) -> float:
        """Return the mean Dice over lesions and false components, each of which counts as 0; 1 where there is neither.

        A lesion is compared with all of the components, each as a whole, that come into its reach.
        """
        components = cc3d.connected_components(np.pad(prediction, self._margin), connectivity=CONNECTIVITY)
        component_sizes = np.bincount(components.ravel())
        predicted = components > 0
        hits = np.bincount(self._lesions[predicted], minlength=len(self._sizes))
        meets = np.zeros((len(self._sizes), len(component_sizes)), bool)
        meets[self._zones[predicted], components[predicted]] = True
        meets[0] = False
        matched_sizes = meets @ component_sizes
        n_false = len(component_sizes) - 1 - int(meets.any(axis=0).sum())
        scores = 2 * hits[self._counts] / (self._sizes[self._counts] + matched_sizes[self._counts])
        n = len(scores) + n_false
        return float(scores.sum() / n) if n else 1.0


def lesion_dice(
    reference: Mask,
    prediction: Mask,
    voxel_volume: float,
    dilations: int = DILATIONS,
    min_volume: float = MIN_VOLUME,
) -> float:
    """Return `ReferenceLesions.dice` of one prediction of the same shape."""
    return ReferenceLesions(reference, voxel_volume, dilations, min_volume).dice(prediction)
