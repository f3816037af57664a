"""How sure a prediction is of its own regions."""

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.regions import REGIONS


def mean_probabilities(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> dict[str, float]:
    """Return the mean probability of WT, TC and ET over the voxels that have them; of a region without any, nothing.

    Args:
        labels: (Z, Y, X) in nnU-Net's values.
        probabilities: (R, Z, Y, X).
    """
    masks = {region.name: region.mask(labels) for region in REGIONS}
    return {
        name: float(values[mask].mean(dtype=np.float64))
        for (name, mask), values in zip(masks.items(), probabilities, strict=False)
        if mask.any()
    }
