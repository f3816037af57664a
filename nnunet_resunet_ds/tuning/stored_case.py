"""What tuning needs of a validation case, small enough to keep on disk and to read again for each setting."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import replacing
from nnunet_resunet_ds.base.npz import read_arrays

LOWEST_THRESHOLD = 0.2
"""That tuning tries: outside the box of what reaches it, and of the reference, nothing can change."""


@dataclass(frozen=True)
class StoredCase:
    """Probabilities and reference of one case, cropped to where there can be tumour."""

    probabilities: NDArray[np.floating]
    """(R, Z, Y, X)."""
    reference: NDArray[np.uint8]
    """(Z, Y, X), nnU-Net's values."""
    voxel_volume: float
    """In mm³."""


def cropped_case(probabilities: NDArray[np.floating], reference: NDArray[np.uint8], voxel_volume: float) -> StoredCase:
    """Crop a case; scores of any thresholds from `LOWEST_THRESHOLD` up stay as they are.

    Args:
        probabilities: (R, Z, Y, X) of the whole volume.
        reference: (Z, Y, X), nnU-Net's values.
        voxel_volume: in mm³.
    """
    foreground = (probabilities.max(axis=0) >= LOWEST_THRESHOLD) | (reference > 0)
    box = find_objects(foreground.view(np.uint8))[0] if foreground.any() else (slice(1),) * 3
    cropped = np.ascontiguousarray(probabilities[(slice(None), *box)])
    return StoredCase(cropped, np.ascontiguousarray(reference[box]), voxel_volume)


def write_stored_case(case: StoredCase, path: Path) -> None:
    """Write a case as an uncompressed ``.npz``: reading it again takes milliseconds."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            probabilities=case.probabilities,
            reference=case.reference,
            voxel_volume=np.float64(case.voxel_volume),
        )


def read_stored_case(path: Path) -> StoredCase:
    """Read what `write_stored_case` wrote.

    Raises:
        InputError: the file is damaged.
    """
    try:
        probabilities, reference, volume = read_arrays(path, ["probabilities", "reference", "voxel_volume"])
        return StoredCase(probabilities, reference, float(volume))
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{path}: damaged ({error}); remove it, and it is made anew"
        raise InputError(msg) from error
