"""The entropy of a voxel: how undecided the network is there, from 0 to 1 bit."""

import numpy as np
from numpy.typing import NDArray

DECIDED = 1e-3
"""Probabilities nearer than this to 0 or 1 count as decided: their entropy, below 0.012 bits, is given as 0."""


def entropy(probabilities: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return −p log₂ p − (1 − p) log₂ (1 − p) of probabilities of any shape, in bits.

    Most voxels of a brain are decided, so that logarithms are taken of the others alone.
    """
    result = np.zeros(probabilities.shape, np.float32)
    undecided = (probabilities > DECIDED) & (probabilities < 1 - DECIDED)
    p = probabilities[undecided].astype(np.float32)
    result[undecided] = -p * np.log2(p) - (1 - p) * np.log2(1 - p)
    return result
