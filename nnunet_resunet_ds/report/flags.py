"""What deserves a second look in a prediction, with or without a reference."""

from collections.abc import Mapping

import cc3d
import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.evaluation.protocols import Protocol

MIN_PROBABILITY = 0.8
"""Regions of a lower mean probability are flagged; confident ones have more than 0.9."""
MIN_ET_VOXELS = 73
"""Fewer voxels of enhancing tumour are flagged: the paper's rule doubts them, too."""
MIN_PART_VOLUME = 100.0
"""Separate parts of the first region are counted from so many mm³ on."""
MAX_PARTS = 3


def flags(
    labels: NDArray[np.integer], protocol: Protocol, voxel_volume: float, probabilities: Mapping[str, float]
) -> list[str]:
    """Return a short line for each thing.

    Args:
        labels: predicted, of any shape (3-D), in the protocol's values.
        protocol: says what the regions are.
        voxel_volume: in mm³.
        probabilities: region → mean probability over its voxels, as far as it is known.
    """
    name, rule = next(iter(protocol.regions.items()))
    whole = np.isin(labels, rule.labels)
    if not whole.any():
        return ["no tumour predicted"]
    return [
        *_enhancing_tumour(labels, protocol),
        *_parts(whole, name, voxel_volume),
        *(
            f"low confidence: {region} has mean probability {value:.2f}"
            for region, value in probabilities.items()
            if value < MIN_PROBABILITY
        ),
    ]


def _enhancing_tumour(labels: NDArray[np.integer], protocol: Protocol) -> list[str]:
    if "ET" not in protocol.regions:
        return []
    voxels = int(np.isin(labels, protocol.regions["ET"].labels).sum())
    if not voxels:
        return ["no enhancing tumour predicted"]
    return [f"only {voxels} voxels of enhancing tumour"] if voxels < MIN_ET_VOXELS else []


def _parts(whole: NDArray[np.bool_], name: str, voxel_volume: float) -> list[str]:
    parts = cc3d.connected_components(whole, connectivity=26)
    n = int((np.bincount(parts[whole])[1:] * voxel_volume >= MIN_PART_VOLUME).sum())
    return [f"{name} in {n} separate parts"] if n > MAX_PARTS else []
