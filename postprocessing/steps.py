"""The steps after the thresholds: opening and closing, doubtful components, doubtful enhancing tumour (D10, D11)."""

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_resunet_ds.base.regions import ET, TC, WT, Region, Tissue
from postprocessing.config import PostprocessingConfig

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Membership:
    """A region, and the tissue that a voxel becomes which enters or leaves it."""

    region: Region
    channel: int
    """Of the probabilities."""
    entered: Tissue
    left: Tissue
    """Of the region around: a voxel can enter from there alone."""


MEMBERSHIPS = {
    "wt": Membership(WT, 0, entered=Tissue.ED, left=Tissue.BACKGROUND),
    "tc": Membership(TC, 1, entered=Tissue.NCR, left=Tissue.ED),
    "et": Membership(ET, 2, entered=Tissue.ET, left=Tissue.NCR),
}
"""By the names that settings begin with."""


_FACES = ndimage.generate_binary_structure(3, 1)


def open_region(labels: Labels, radius: int, name: str) -> Labels:
    """Return labels (Z, Y, X) in which what is too thin for a ball of this radius has left a region.

    Args:
        labels: in nnU-Net's values.
        radius: in voxels, counted along faces.
        name: of the region: ``wt``, ``tc`` or ``et``.
    """
    membership = MEMBERSHIPS[name]
    mask = membership.region.mask(labels)
    opened = ndimage.binary_opening(np.pad(mask, radius), _FACES, iterations=radius)
    left = mask & ~opened[_inside(radius)]
    return np.where(left, np.uint8(membership.left), labels)


def close_region(labels: Labels, radius: int, name: str) -> Labels:
    """Return labels (Z, Y, X) in which gaps too thin for a ball of this radius have entered a region.

    Only voxels of the tissue right around the region enter it; see `open_region` for the arguments.
    """
    membership = MEMBERSHIPS[name]
    mask = np.pad(membership.region.mask(labels), radius)
    closed = ndimage.binary_closing(mask, _FACES, iterations=radius)[_inside(radius)]
    entered = closed & (labels == membership.left)
    return np.where(entered, np.uint8(membership.entered), labels)


def _inside(margin: int) -> tuple[slice, slice, slice]:
    inner = slice(margin, -margin or None)
    return inner, inner, inner


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


def remove_doubtful_total(labels: Labels, probabilities: NDArray[np.floating], config: PostprocessingConfig) -> Labels:
    """Return labels (Z, Y, X) whose ET is NCR where it has too few voxels and too low a mean probability."""
    enhancing = labels == Tissue.ET
    values = probabilities[MEMBERSHIPS["et"].channel][enhancing]
    if not 0 < values.size < config.et_total_voxels:
        return labels
    mean = values.mean(dtype=np.float64, keepdims=True)
    if not is_below(mean, config.et_total_probability, values.dtype).item():
        return labels
    return np.where(enhancing, np.uint8(Tissue.NCR), labels)
