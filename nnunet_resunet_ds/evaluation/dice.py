"""Dice as BraTS defines it for empty regions."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.regions import REGIONS


def dice(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """Return 2|A∩B| / (|A|+|B|); 1 if both are empty, so 0 if one of them is."""
    total = int(reference.sum()) + int(prediction.sum())
    return 2 * int((reference & prediction).sum()) / total if total else 1.0


def region_dice(reference: NDArray[np.integer], prediction: NDArray[np.integer]) -> dict[str, float]:
    """Return the Dice of WT, TC and ET between two label maps of one shape, in nnU-Net's values."""
    return {region.name: dice(region.mask(reference), region.mask(prediction)) for region in REGIONS}


def mean_region_dice(cases: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Average `region_dice` over cases."""
    rows = list(cases)
    return {region.name: float(np.mean([row[region.name] for row in rows])) for region in REGIONS}
