"""What prediction hands on of each case, and to whom."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from nnunet_resunet_ds.inference.preprocessing import Probabilities


@dataclass(frozen=True)
class PredictedCase:
    """One case, on the voxels of its images."""

    case_id: str
    labels: NDArray[np.uint8]
    """(Z, Y, X) in nnU-Net's values, post-processed."""
    probabilities: Probabilities
    """(R, Z, Y, X)."""
    properties: Mapping[str, Any]
    """nnU-Net's of the preprocessing."""
    grid: sitk.Image
    """Where the images lie."""


class Sink(Protocol):
    """Where predicted cases go. All but `is_finished` are called from a thread."""

    def is_finished(self, case_id: str) -> bool:
        """Tell whether a case is there from an earlier run."""

    def write_case(self, case: PredictedCase) -> None:
        """Keep one case."""

    def note(self, case_id: str, entry: Mapping[str, Any]) -> None:
        """Keep what is to be said of a case."""
