"""Region probabilities to labels by thresholds, nested as in paper section 5 (decision D9) or as nnU-Net paints."""

import operator
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.regions import Tissue
from postprocessing.config import PostprocessingConfig
from postprocessing.further_region import FurtherRegion


def apply_thresholds(probabilities: NDArray[np.floating], config: PostprocessingConfig) -> NDArray[np.uint8]:
    """Return labels (Z, Y, X) in nnU-Net's values; a voxel at a threshold is foreground (D9), for nnU-Net it is not.

    Args:
        probabilities: (R, Z, Y, X); WT, TC, ET where the configuration has them, then the further regions in the order
            of ``config.further``.
        config: the thresholds.

    Raises:
        InputError: the shape is not (R, Z, Y, X) with the regions of the configuration; those after WT, TC and ET may
            be missing.
    """
    check_probabilities(probabilities, config)
    return labels_without(None, probabilities, config)


def labels_without(
    left_out: FurtherRegion | None, probabilities: NDArray[np.floating], config: PostprocessingConfig
) -> NDArray[np.uint8]:
    """Return what the thresholds paint where one further region is left out.

    Args:
        left_out: the region; None leaves out none.
        probabilities: (R, …), of all regions.
        config: the thresholds.
    """
    reaches = operator.ge if config.tumour_regions and config.nested else operator.gt
    n = config.n_tumour_regions
    labels = np.full(probabilities.shape[1:], Tissue.BACKGROUND, dtype=np.uint8)
    if config.tumour_regions:
        _paint_tumour(labels, probabilities[:n], config, reaches)
    for probability, region in zip(probabilities[n:], config.further, strict=False):
        if region != left_out:
            labels[reaches(probability, float(region.threshold))] = region.label
    return labels


def _paint_tumour(
    labels: NDArray[np.uint8],
    probabilities: NDArray[np.floating],
    config: PostprocessingConfig,
    reaches: Callable[[NDArray[np.floating], float], NDArray[np.bool_]],
) -> None:
    """Paint ED, NCR and ET into labels of any shape, by the probabilities of WT, TC and ET, each of this shape."""
    # Python floats, so that numpy compares in the dtype of the probabilities: 0.45 in float32 is not below 0.45
    thresholds = (float(config.wt), float(config.tc), float(config.et))
    whole_tumour, tumour_core, enhancing = map(reaches, probabilities, thresholds)
    if config.nested:
        tumour_core &= whole_tumour
        enhancing &= tumour_core
    labels[whole_tumour] = Tissue.ED
    labels[tumour_core] = Tissue.NCR
    labels[enhancing] = Tissue.ET


def check_probabilities(probabilities: NDArray[np.floating], config: PostprocessingConfig) -> None:
    """Refuse an array that is not region probabilities.

    Raises:
        InputError: wrong number of axes or regions, or values that are not finite or outside 0 to 1.
    """
    most = config.n_tumour_regions + len(config.further)
    least = config.n_tumour_regions or most
    if probabilities.ndim != 4 or not least <= probabilities.shape[0] <= most:
        regions = f"from {least} to {most}" if config.tumour_regions else f"= {most}"
        msg = f"probabilities must be (R, Z, Y, X) with R {regions}; got shape {probabilities.shape}"
        raise InputError(msg)
    # both comparisons are false for NaN
    if not (probabilities.min(initial=0) >= 0 and probabilities.max(initial=1) <= 1):
        msg = "probabilities must be finite and from 0 to 1; these are not (logits, or NaN from a broken model?)"
        raise InputError(msg)
