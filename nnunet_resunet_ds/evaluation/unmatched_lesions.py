"""Say where false and missed lesions are: their centre, volume and highest probability."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from nnunet_resunet_ds.base.csv_table import write_csv

FALSE, MISSED = "false", "missed"


@dataclass(frozen=True)
class LesionVoxels:
    """A lesion that has no counterpart."""

    region: str
    kind: str
    """`FALSE`: predicted, and not in the reference; `MISSED`: in the reference, and not predicted."""
    voxels: NDArray[np.integer]
    """(n, 3), the index of each of its voxels in the arrays that were compared."""


@dataclass(frozen=True)
class UnmatchedLesion:
    """What is said of a lesion that has no counterpart."""

    region: str
    kind: str
    x: int
    """Index of the voxel of the lesion nearest its centre of mass, from 0, on the axes of the file."""
    y: int
    z: int
    position: tuple[float, float, float]
    """Of this voxel in mm: to the left, to the back, and up (LPS)."""
    volume: float
    """In mm³."""
    peak_probability: float | None
    """Highest probability of the region over the lesion; None where there are no probabilities."""


def placed_lesion(
    lesion: LesionVoxels, grid: sitk.Image, probability: NDArray[np.floating] | None = None
) -> UnmatchedLesion:
    """Return what is said of a lesion.

    Args:
        lesion: with voxels (X, Y, Z).
        grid: of the label map.
        probability: (X, Y, Z), of the lesion's region.
    """
    spacing = np.asarray(grid.GetSpacing())
    away = ((lesion.voxels - lesion.voxels.mean(axis=0)) * spacing) ** 2
    x, y, z = map(int, lesion.voxels[away.sum(axis=1).argmin()])
    peak = None if probability is None else float(probability[tuple(lesion.voxels.T)].max())
    position = grid.TransformIndexToPhysicalPoint((x, y, z))
    return UnmatchedLesion(
        lesion.region, lesion.kind, x, y, z, position, len(lesion.voxels) * float(np.prod(spacing)), peak
    )


LesionsByCase = Mapping[str, Sequence[UnmatchedLesion]]
"""Of each case, by its name."""


def lesions_section(lesions: LesionsByCase) -> dict[str, list[dict[str, Any]]]:
    """Return the entry of ``metrics.json`` about the lesions of each case."""
    return {case: [asdict(lesion) for lesion in of_case] for case, of_case in lesions.items()}


def read_lesions_section(section: Any) -> dict[str, list[UnmatchedLesion]]:  # noqa: ANN401 (JSON may hold anything)
    """Read what `lesions_section` returned; an earlier version wrote none.

    Raises:
        TypeError: it is something else.
        AttributeError: the same.
    """
    return {
        str(case): [
            UnmatchedLesion(**{**lesion, "position": tuple(map(float, lesion["position"]))}) for lesion in of_case
        ]
        for case, of_case in (section or {}).items()
    }


def write_lesions(lesions: LesionsByCase, path: Path) -> None:
    """Write a row for each false and missed lesion, the largest of a case first."""
    names = [field.name for field in fields(UnmatchedLesion) if field.name != "position"]
    rows = (
        [case, *(getattr(lesion, name) for name in names), *lesion.position]
        for case, of_case in lesions.items()
        for lesion in of_case
    )
    write_csv(path, ["case", *names, "left_mm", "back_mm", "up_mm"], rows)
