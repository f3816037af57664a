"""What tuning needs of a validation case, small enough to keep on disk and in memory."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from dataset_conversion.find_cases import RawCase
from nnunet_resunet_ds.base.dataset_json import read_dataset_json
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import FILE_ENDING, read_json, remove_half_written, replacing, write_json
from nnunet_resunet_ds.base.images import read_labels
from nnunet_resunet_ds.base.npz import read_arrays
from nnunet_resunet_ds.inference.pipeline import CaseOutcome, PredictedCase
from nnunet_resunet_ds.uncertainty.region_certainty import LEAST_PROBABILITY, box_with_surroundings
from postprocessing.model_config import nnunet_config
from postprocessing.probabilities import probabilities_on_grid
from postprocessing.saved_probabilities import check_painted

CACHE = "tuning"
"""Folder in that of the model."""
FORMAT = 4
"""Of stored cases; those of another are made again."""
_MADE_WITH = "made_with.json"

LOWEST_THRESHOLD = LEAST_PROBABILITY
"""The lowest that tuning tries: outside the box of what reaches it, and of the reference, nothing can change."""


@dataclass(frozen=True)
class StoredCase:
    """Probabilities and reference of one case, cropped to where there can be tumour."""

    probabilities: NDArray[np.floating]
    """(R, Z, Y, X)."""
    reference: NDArray[np.uint8]
    """(Z, Y, X), nnU-Net's values."""
    spacing: tuple[float, ...]
    """In mm, (Z, Y, X)."""
    image_shape: tuple[int, ...]
    """(Z, Y, X) of the whole image."""

    @property
    def voxel_volume(self) -> float:
        """In mm³; multiplied in the order of the image's header, as everywhere else."""
        return float(np.prod(self.spacing[::-1]))


def cropped_case(
    probabilities: NDArray[np.floating], reference: NDArray[np.uint8], spacing: Sequence[float]
) -> StoredCase:
    """Crop a case; scores of any thresholds from `LOWEST_THRESHOLD` up stay as they are.

    Args:
        probabilities: (R, Z, Y, X) of the whole volume.
        reference: (Z, Y, X), nnU-Net's values.
        spacing: in mm, (Z, Y, X).
    """
    box = box_with_surroundings((probabilities.max(axis=0) >= LOWEST_THRESHOLD) | (reference > 0))
    cropped = np.ascontiguousarray(probabilities[(slice(None), *box)])
    return StoredCase(cropped, np.ascontiguousarray(reference[box]), tuple(spacing), reference.shape)


def write_stored_case(case: StoredCase, path: Path) -> None:
    """Write a case as an uncompressed ``.npz``: reading it again takes milliseconds."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            probabilities=case.probabilities,
            reference=case.reference,
            spacing=np.array(case.spacing, np.float64),
            image_shape=np.array(case.image_shape, np.int64),
        )


def read_stored_case(path: Path) -> StoredCase:
    """Read what `write_stored_case` wrote.

    Raises:
        InputError: the file is damaged.
    """
    try:
        probabilities, reference, spacing, shape = read_arrays(
            path, ["probabilities", "reference", "spacing", "image_shape"]
        )
        return StoredCase(probabilities, reference, tuple(spacing.tolist()), tuple(shape.tolist()))
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{path}: damaged ({error}); remove it, and it is made again"
        raise InputError(msg) from error


@dataclass(frozen=True)
class CaseStore:
    """A folder of stored cases: one file a case, for as long as weights, settings and images stay the same.

    Args:
        folder: where they go.
        references: folder of label maps in nnU-Net's values.
    """

    folder: Path
    references: Path

    def open(self, made_with: Mapping[str, Any]) -> None:
        """Make the folder; remove cases that were made with anything else."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_half_written(self.folder, "*")
        record = self.folder / _MADE_WITH
        wanted = json.loads(json.dumps({"format": FORMAT, **made_with}))
        if not record.is_file() or read_json(record) != wanted:
            for file in self.folder.glob("*.npz"):
                file.unlink()
            write_json(wanted, record)

    def file(self, case_id: str) -> Path:
        """Return where a case is stored."""
        return self.folder / f"{case_id}.npz"

    def reference(self, case_id: str) -> Path:
        """Return the file of a case's reference."""
        return self.references / f"{case_id}{FILE_ENDING}"

    def has(self, case_id: str) -> bool:
        """Tell whether a case is stored."""
        return self.file(case_id).is_file()

    def keep_saved(self, case_id: str, file: Path, model: Path) -> None:
        """Store a case with its reference, after nnU-Net has saved the probabilities.

        Args:
            case_id: of the case.
            file: nnU-Net's ``.npz``.
            model: folder of the model.

        Raises:
            InputError: a file is missing or damaged, or they are of different images or predictions.
        """
        image, reference = read_labels(self.reference(case_id))
        probabilities = probabilities_on_grid(file, image, model)
        label_map = file.with_name(f"{case_id}{FILE_ENDING}")
        if label_map.is_file():
            check_painted(probabilities, file, read_labels(label_map)[1], nnunet_config(read_dataset_json(model)))
        self._keep(case_id, probabilities, image, reference)

    # ---- what a pipeline of predictions asks of its `ResultFolder` ----

    @property
    def writer(self) -> "CaseStore":
        """Return itself."""
        return self

    def is_finished(self, case: RawCase) -> bool:
        """Tell whether a case is stored; `open` has removed those of other images."""
        return self.has(case.case_id)

    def write_case(self, case: PredictedCase) -> None:
        """Store a predicted case with its reference.

        Raises:
            InputError: the reference has another shape.
        """
        image, reference = read_labels(self.reference(case.case_id))
        if reference.shape != case.labels.shape:
            msg = (
                f"{self.reference(case.case_id)}: has shape {reference.shape}, and its images have "
                f"{case.labels.shape}; preprocess the dataset again with nnUNetv2_plan_and_preprocess"
            )
            raise InputError(msg)
        self._keep(case.case_id, case.probabilities, image, reference)

    def note(self, outcome: CaseOutcome) -> None:
        """Do nothing: warnings were printed when the images were converted, and a failure ends the tuning."""

    def _keep(
        self, case_id: str, probabilities: NDArray[np.floating], image: sitk.Image, reference: NDArray[np.integer]
    ) -> None:
        case = cropped_case(probabilities, reference.astype(np.uint8), image.GetSpacing()[::-1])
        write_stored_case(case, self.file(case_id))
