"""Make up cases of an edition, as a challenge may give them: ids of every form, nested folders, an absent sequence."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from dataset_conversion.editions import CHANNEL_NAMES, Edition
from nnunet_resunet_ds.base.images import write_image
from nnunet_resunet_ds.demo.phantom import Anatomy, make_phantom

SMALL = Anatomy(shape=(44, 52, 48), brain_radii=(17, 21, 18), noise=(30, 60))
"""A patch of the paper's network holds such a brain whole."""
_IDS = (
    *(f"BraTS-{task}-{rest}" for task in ("GLI", "SSA", "PED", "MEN", "MET") for rest in
      ("00001-000", "00001-001", "01234-100", "99999-123")),
    "BraTS-GoAT-00000", "BraTS-GoAT-02250", "BraTS-MEN-RT-0001-1", "BraTS-MEN-RT-0570-2",
    "BraTS2021_00000", "BraTS2021_01666", "BraTS20_Validation_001", "BraTS20_Training_369",
    "BraTS19_TCIA01_147_1", "BraTS19_CBICA_AAB_1", "Brats18_2013_0_1", "Brats18_CBICA_AAB_1", "Brats17_TCIA_101_1",
    "Brats17_CBICA_AAB_1", "UPENN-GBM-00001_11", "UPENN-GBM-00611_21", "UCSF-PDGM-0004", "UCSF-PDGM-0429_FU003d",
    "TCGA-02-0006_1996.08.23", "TCGA-CS-4942_1997.02.22",
)  # fmt: skip
"""Of all editions; each takes those that its own form of a case id fits."""
_FOLDERS = ("{case}", "Site A - part 2/{case}", "nested/deeper/{case}")
"""Below the input, one case after the other."""
_GRIDS = (
    ((1.0, 1.0, 1.0), (1, 1, 1), (0.0, -239.0, 0.0)),  # LPS, as in SRI24
    ((1.0, 1.0, 1.0), (1, -1, 1), (-90.0, 126.0, -72.0)),  # LAS, as in MNI152
    ((0.9, 0.9, 1.2), (-1, -1, 1), (101.2, 98.7, -40.25)),  # RAS and not cubic, as in native space
)
"""Spacing, direction (its diagonal) and origin in mm, in the order of ITK's axes."""


@dataclass(frozen=True)
class MadeUpCase:
    """One case below the input."""

    case_id: str
    images: dict[str, Path]
    """Channel → file."""
    folder: Path
    """Of these, from the input on."""
    absent: tuple[str, ...]

    @property
    def words(self) -> str:
        """Where it lies below the input, and what it lacks."""
        lacking = f", without {' and '.join(self.absent)}" if self.absent else ""
        return f"in {self.folder}{lacking}"


def ids_of(edition: Edition) -> list[str]:
    """Return case ids of each form that the edition has."""
    return [case_id for case_id in _IDS if edition.case_id.fullmatch(case_id)]


def make_up_cases(folder: Path, edition: Edition, absent: Sequence[str]) -> list[MadeUpCase]:
    """Write the images of phantoms by the names of an edition.

    Args:
        folder: of the cases.
        edition: whose names, and forms of ids.
        absent: sequences that the last case lacks, but for one.
    """
    ids = ids_of(edition)
    absent = absent[: len(edition.channels) - 1]
    return [
        _make_up(folder, edition, case_id, number, tuple(absent) if case_id == ids[-1] else ())
        for number, case_id in enumerate(ids)
    ]


def _make_up(folder: Path, edition: Edition, case_id: str, number: int, absent: tuple[str, ...]) -> MadeUpCase:
    phantom = make_phantom(number, enhancing=number % 2 == 0, anatomy=SMALL)
    spacing, direction, origin = _GRIDS[number % len(_GRIDS)]
    place = folder / _FOLDERS[number % len(_FOLDERS)].format(case=case_id)
    place.mkdir(parents=True)
    images = {}
    for channel, values in zip(CHANNEL_NAMES, phantom.images, strict=True):
        if channel in edition.channels and channel not in absent:
            image = sitk.GetImageFromArray(values)
            image.SetSpacing(spacing)
            image.SetDirection(np.diag(direction).astype(float).ravel().tolist())
            image.SetOrigin(origin)
            images[channel] = place / edition.file_name(case_id, channel)
            write_image(image, images[channel])
    return MadeUpCase(case_id, images, place.relative_to(folder), absent)
