"""Tell by their voxels that two sequences of a case are exchanged: T1 and T1ce, or T2 and FLAIR.

Each is a number that changes its sign when the two images change places. It needs no tumour: vessels enhance in T1ce,
as tumours do, and cerebrospinal fluid is bright in T2 and dark in FLAIR. The limits are from eighteen real cases of
BraTS 2018 and 2021: these are far above them in their right order, and all below them with the two images exchanged.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from dataset_conversion.intensity import MAX_NON_ZERO, Values, brain_mask
from dataset_conversion.sequences import sequence_named

ENHANCEMENT_LIMIT = -0.35
"""Of `enhancement`: 0.62 to 1.60 in eighteen cases, and 0.40 or more without their enhancing tumour."""
FLUID_LIMIT = -0.15
"""Of `fluid`: 0.21 to 0.71 in eighteen cases, and 0.19 or more without their enhancing tumour."""
_STEP = 2.0
"""In mm, between the voxels that are looked at."""
_DEPTH = 5
"""In these steps, of what is left out below the brain's surface, where large vessels and remains of the skull lie."""
_MIN_VOXELS = 10_000
"""That are looked at. Eighteen adult brains had 86 000 or more at this depth."""

_Sample = NDArray[np.float32]


def exchanged_by_content(values: Mapping[str, Values], spacing: Sequence[float]) -> list[str]:
    """Return ``KIND: detail`` of two images that look exchanged; nothing where a head is not skull-stripped.

    Args:
        values: channel name → voxels (Z, Y, X), of those that are there; T1, T1ce, T2 and FLAIR by any usual name.
        spacing: (Z, Y, X) in mm.
    """
    steps = tuple(slice(None, None, max(1, round(_STEP / axis))) for axis in spacing)
    sample = {sequence_named(name) or name: image[steps].astype(np.float32) for name, image in values.items()}
    brain = brain_mask(sample)
    if brain.sum() < _MIN_VOXELS or brain.mean() > MAX_NON_ZERO:
        return []
    found = []
    if {"T1", "T1ce"} <= sample.keys():
        deep = binary_erosion(brain, iterations=_DEPTH)
        if deep.sum() >= _MIN_VOXELS and enhancement(sample["T1"][deep], sample["T1ce"][deep]) < ENHANCEMENT_LIMIT:
            found.append("T1 and T1ce exchanged?: T1 enhances and T1ce does not, by their voxels")
    if {"T2", "FLAIR"} <= sample.keys() and fluid(sample["T2"][brain], sample["FLAIR"][brain]) < FLUID_LIMIT:
        found.append("T2 and FLAIR exchanged?: fluid is bright in FLAIR and dark in T2, by their voxels")
    return found


def enhancement(t1: _Sample, t1ce: _Sample) -> float:
    """Return how much further the brightest voxels of T1ce stand out than those of T1, as the log of a ratio."""
    return _log_of_tail(t1ce) - _log_of_tail(t1)


def _log_of_tail(values: _Sample) -> float:
    low, median, high, highest = np.percentile(values, (5, 50, 95, 99.9))
    if not (high > low and highest > median):
        return 0.0
    return float(np.log((highest - median) / (high - low)))


def fluid(t2: _Sample, flair: _Sample) -> float:
    """Return, from -1 to 1, how much further up than down T2 goes away from FLAIR."""
    low, median, high = np.percentile(_standardised(t2) - _standardised(flair), (0.5, 50, 99.5))
    return float((high + low - 2 * median) / (high - low)) if high > low else 0.0


def _standardised(values: _Sample) -> _Sample:
    """Return how many interquartile ranges each value lies above the median."""
    first, median, third = np.percentile(values, (25, 50, 75))
    standardised: _Sample = (values - median) / max(third - first, np.finfo(np.float32).tiny)
    return standardised
