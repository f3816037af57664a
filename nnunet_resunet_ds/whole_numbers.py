"""Label values that are whole numbers, or were until something computed with them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_OFF = 1e-3
"""How far a value may be from a whole number: resampling and scaling turn 4 into 3.9999998."""
_MAX_LABEL = 2**31
"""Beyond it is no label, infinity among others."""


def whole_numbers(values: NDArray[Any]) -> NDArray[np.integer] | None:
    """Return values of any shape as whole numbers; None where one is not within `MAX_OFF` of any, or is no label."""
    if np.issubdtype(values.dtype, np.integer):
        return values
    if not np.issubdtype(values.dtype, np.floating) or not np.abs(values).max(initial=0) <= _MAX_LABEL:  # nor NaN
        return None
    rounded = np.rint(values)
    return rounded.astype(np.int64) if np.abs(rounded - values).max(initial=0) <= MAX_OFF else None
