"""What prediction hands on of each case, and to whom."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from dataset_conversion.scan import RawCase
from nnunet_resunet_ds.inference.preprocessing import Probabilities

IMAGES = "images"
"""What is noted of a case under this name: channel → identity of the file that it was predicted from."""


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
    reader: str
    """The model's, of images: see `nnunet_resunet_ds.base.reader_space`."""
    grid: sitk.Image
    """Where the images lie."""


class Writer(Protocol):
    """Keeps predicted cases; small enough to be sent to another process with each case."""

    def write_case(self, case: PredictedCase) -> None:
        """Keep one case."""


class Sink(Protocol):
    """Where predicted cases go, and what is to be said of them."""

    @property
    def writer(self) -> Writer:
        """Return what keeps the cases."""

    def is_finished(self, case: RawCase) -> bool:
        """Tell whether a case is there from an earlier run, made from the images that it has now."""

    def note(self, case_id: str, entry: Mapping[str, Any]) -> None:
        """Keep what is to be said of a case that is written."""

    def note_failure(self, case_id: str, reason: str) -> None:
        """Keep why a case failed."""
