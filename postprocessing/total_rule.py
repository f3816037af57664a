"""The step that takes all of a region away where it is little: the paper's last rule on enhancing tumour (D11)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from postprocessing.step import MEAN, NESTINGS, Labels, Number, Probabilities, SizedStep, is_below_or_all


@dataclass(frozen=True)
class TotalRule(SizedStep):
    """Takes all of a region away where it is small and has a low mean probability."""

    kind = "total"
    numbers: ClassVar = {
        "voxels": Number("remove {region} if all of it has fewer voxels …", int, name="total_voxels"),
        "mm3": Number("… or less volume, in mm³ …", float, name="total_mm3"),
        "probability": Number(MEAN, float, 1, "total_probability"),
    }

    def apply(
        self, labels: Labels, probabilities: Probabilities, connectivity: int, voxel_volume: float | None = None
    ) -> Labels:
        """Return labels after this step; see `Step.apply`."""
        nesting = NESTINGS[self.region]
        mask = nesting.region.mask(labels)
        values = probabilities[nesting.channel][mask]
        if not 0 < values.size < self.least_voxels(voxel_volume):
            return labels
        mean = values.mean(dtype=np.float64, keepdims=True)
        if not is_below_or_all(mean, self.probability, values.dtype).item():
            return labels
        return np.where(mask, np.uint8(nesting.left), labels)
