"""Find preprocessed cases whose label maps were corrected after they had been preprocessed."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from numpy.typing import NDArray

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.images import read_labels
from nnunet_resunet_ds.base.nnunet_properties import PROPERTIES_ENDING

_MAX_SHARE = 0.25
"""By which the volume of a label may differ where a case is resampled."""
_LEAST_MM3 = 500.0
"""Smaller differences tell nothing: resampling takes and adds single voxels."""


def check_labels_are_of(
    data: Path, references: Mapping[str, Path], spacing: Sequence[float], n_at_most: int, remedy: str
) -> None:
    """Refuse data whose labels are not those of the label maps.

    nnU-Net has one copy of the label maps for all plans of a dataset: after a correction, preprocessing for one plans
    file brings the copies up to date, and leaves the data of the others as they are. Only cases whose label map is
    newer than their data are read.

    Args:
        data: folder of preprocessed cases.
        references: case → label map.
        spacing: of the data, in mm.
        n_at_most: cases that are read; copying folders can make all label maps look new.
        remedy: for the message.

    Raises:
        InputError: the labels of a case are others.
    """
    newer = [case for case, file in references.items() if _is_newer(file, data / f"{case}{PROPERTIES_ENDING}")]
    if not newer:
        return
    try:
        cases = infer_dataset_class(str(data))(str(data), newer[:n_at_most])
    except (AssertionError, KeyError):
        return  # files of no kind, or of two: nnU-Net says so itself
    for case in newer[:n_at_most]:
        geometry, labels = read_labels(references[case])
        label = _differing_label(
            _volumes(np.asarray(cases.load_case(case)[1]), math.prod(spacing)),
            _volumes(labels, math.prod(geometry.GetSpacing())),
        )
        if label is not None:
            msg = (
                f"{data}: {case} was preprocessed with another label map than {references[case]} (the volume of label "
                f"{label} differs); {remedy}"
            )
            raise InputError(msg)


def _is_newer(file: Path, than: Path) -> bool:
    return file.is_file() and than.is_file() and file.stat().st_mtime > than.stat().st_mtime


def _volumes(labels: NDArray[np.number], of_voxel: float) -> dict[int, float]:
    """Return label → mm³, but for the background and what nnU-Net marks as outside of the brain."""
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    return {int(value): count * of_voxel for value, count in zip(values, counts, strict=True)}


def _differing_label(found: Mapping[int, float], expected: Mapping[int, float]) -> int | None:
    for label in sorted({*found, *expected}):
        a, b = found.get(label, 0.0), expected.get(label, 0.0)
        if abs(a - b) > max(_LEAST_MM3, _MAX_SHARE * max(a, b)):
            return label
    return None
