"""The step that takes all of a region away where it is little: the paper's last rule on enhancing tumour (D10)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from postprocessing.step import MEAN, Number, SizedStep, is_below_or_all
from postprocessing.volume import Moves, Volume


@dataclass(frozen=True)
class TotalRule(SizedStep):
    """Takes all of a region away where it is small and has a low mean probability."""

    kind = "total"
    numbers: ClassVar = {
        "voxels": Number("remove {region} if all of it has fewer voxels …", int, name="total_voxels"),
        "mm3": Number("… or less volume, in mm³ …", float, name="total_mm3"),
        "probability": Number(MEAN, float, 1, "total_probability"),
    }

    def moves(self, volume: Volume) -> Moves:
        """Return what leaves: all or nothing; see `Step.moves`."""
        voxels = volume.voxels(self.region)
        if not 0 < len(voxels) < self.least_voxels(volume.voxel_volume):
            return Moves(self.region)
        values = volume.probability(self.region)[voxels]
        mean = values.mean(dtype=np.float64, keepdims=True)
        if not is_below_or_all(mean, self.probability, values.dtype).item():
            return Moves(self.region)
        return Moves(self.region, left=voxels, are_whole=True)
