"""Connected components that are too small and too uncertain leave their region (decisions D10 and D11)."""

import cc3d
import numpy as np
from numpy.typing import NDArray

from postprocessing.config import PostprocessingConfig
from postprocessing.membership import MEMBERSHIPS, Labels, Mask


def remove_components(
    labels: Labels, probabilities: NDArray[np.floating], config: PostprocessingConfig, name: str
) -> Labels:
    """Return labels (Z, Y, X) in which the doubtful components of a region have left it.

    Args:
        labels: in nnU-Net's values.
        probabilities: (R, Z, Y, X).
        config: the sizes and mean probabilities, and the connectivity.
        name: of the region: ``wt``, ``tc`` or ``et``.
    """
    membership = MEMBERSHIPS[name]
    doubtful = doubtful_components(
        membership.region.mask(labels),
        probabilities[membership.channel],
        config.connectivity,
        n_voxels=getattr(config, f"{name}_component_voxels"),
        probability_limit=getattr(config, f"{name}_component_probability"),
    )
    return np.where(doubtful, np.uint8(membership.left), labels)


def doubtful_components(
    mask: Mask, probability: NDArray[np.floating], connectivity: int, *, n_voxels: int, probability_limit: float
) -> Mask:
    """Return where a connected component has both fewer voxels and a lower mean probability than the limits."""
    components = cc3d.connected_components(mask, connectivity=connectivity)
    sizes = np.bincount(components.ravel())
    sums = np.bincount(components.ravel(), weights=probability.ravel())
    uncertain = is_below(sums / np.maximum(sizes, 1), probability_limit, probability.dtype)
    doubtful = (sizes < n_voxels) & uncertain
    doubtful[0] = False  # the background
    marked: Mask = doubtful[components]
    return marked


def is_below(means: NDArray[np.float64], limit: float, dtype: np.dtype[np.floating]) -> NDArray[np.bool_]:
    """Compare mean probabilities with a limit, both as precise as the probabilities; everything is below 1."""
    below: NDArray[np.bool_] = means.astype(dtype) < dtype.type(limit)  # so that 0.9 in float32 is not below 0.9
    return below | (limit >= 1)
