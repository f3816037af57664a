"""The smallest box around a mask."""

import numpy as np
from numpy.typing import NDArray


def box_around(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return a slice for each axis; empty ones where the mask is empty."""
    box = []
    for axis in range(mask.ndim):
        (where,) = np.nonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        side = slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0)
        box.append(side)
        mask = mask[(slice(None),) * axis + (side,)]  # less to look at along the next axis
    return tuple(box)
