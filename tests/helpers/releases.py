"""Made-up folders of the releases, laid out and named as the real ones, with small images of their kinds of grid."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from dataset_conversion.editions import EDITIONS, SEGMENTATION


@dataclass(frozen=True)
class Grid:
    """A kind of grid that EDITIONS of the releases have, with few voxels."""

    shape: tuple[int, int, int] = (6, 7, 8)
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    direction: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """In the axes of ITK: (1, 1, 1) is LPS, (-1, -1, 1) RAS, (1, -1, 1) LAS."""
    origin: tuple[float, float, float] = (0.0, -239.0, 0.0)

    def image(self, values):
        image = sitk.GetImageFromArray(values)
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(np.diag(self.direction).ravel().tolist())
        return image


SRI24 = Grid()
SRI24_RAS = Grid(direction=(-1, -1, 1), origin=(0.0, -239.0, 0.0))
MNI152 = Grid((7, 9, 7), direction=(1, -1, 1), origin=(-90.0, 126.0, -72.0))
NATIVE = Grid((5, 8, 8), (0.859375, 0.859375, 1.5), (-1, -1, 1), (101.2, 98.7, -40.25))
UCSD = Grid((8, 6, 6), (0.5, 0.5, 1.0), (-1, -1, 1), (120.5, 130.25, -60.0))


@dataclass(frozen=True)
class Release:
    """What a download of one edition holds."""

    edition: str
    """What to name; auto where that is enough."""
    cases: Mapping[str, str]
    """Case id → folder of its images."""
    grids: Mapping[str, Grid] = field(default_factory=dict)
    """Of the cases that are not on `SRI24`."""
    label_type: type = np.uint8
    labels: Mapping[str, str] = field(default_factory=dict)
    """Case id → its label map, where it has not the usual place and name."""
    others: tuple[str, ...] = ()
    """Files that are none of ours and must not be taken."""


RELEASES = {
    "2025-gli": Release(
        "auto",
        {
            "BraTS-GLI-00000-000": "BraTS2025-GLI-PRE-Challenge-TrainingData/BraTS-GLI-00000-000",
            "BraTS-GLI-00005-100": "training_data1_v2/BraTS-GLI-00005-100",
            "BraTS-GLI-00005-101": "training_data_additional/BraTS-GLI-00005-101",
        },
        {"BraTS-GLI-00005-100": MNI152, "BraTS-GLI-00005-101": MNI152},
    ),
    "2025-ssa": Release("2025", {"BraTS-SSA-00002-000": "95_Glioma/BraTS-SSA-00002-000"}),
    "2025-men": Release("2025", {"BraTS-MEN-00004-000": "BraTS-MEN-Train/BraTS-MEN-00004-000"}),
    "2025-met": Release(
        "auto",
        {
            "BraTS-MET-00110-000": "MICCAI-LH-BraTS2025-MET-Challenge-Training/BraTS-MET-00110-000",
            "BraTS-MET-00132-000": "MICCAI-LH-BraTS2025-MET-Challenge-Training/BraTS-MET-00132-000",
            "BraTS-MET-00630-001": "MICCAI-LH-BraTS2025-MET-Challenge-Training/BraTS-MET-00630-001",
            "BraTS-MET-01325-000": (
                "MICCAI-LH-BraTS2025-MET-Challenge-Training/UCSD - Training/BraTS-MET-01325-000"
            ),
        },
        {"BraTS-MET-00132-000": SRI24_RAS, "BraTS-MET-00630-001": NATIVE, "BraTS-MET-01325-000": UCSD},
        np.float32,
        others=(
            "MICCAI-LH-BraTS2025-MET-Challenge-Training/UCSD - Training/BraTS-MET-01325-000/tumor_label.nii.gz",
            "__MACOSX/BraTS-MET-00132-000/._BraTS-MET-00132-000-seg.nii.gz",
        ),
    ),
    "2025-ped": Release("2025", {"BraTS-PED-00001-000": "BraTS-PEDs-v1/Training/BraTS-PED-00001-000"}),
    "2026-met": Release("2026", {"BraTS-MET-00001-000": "train/BraTS-MET-00001-000"}, {"BraTS-MET-00001-000": NATIVE}),
    "2026-ped": Release(
        "auto",
        {"BraTS-PED-00001-000": "BraTS26_PED_training/BraTS-PED-00001-000"},
        {"BraTS-PED-00001-000": NATIVE},
    ),
    "goat": Release(
        "auto",
        {"BraTS-GoAT-00000": "MICCAI2024-BraTS-GoAT-TrainingData-With-GroundTruth/BraTS-GoAT-00000"},
    ),
    "menrt": Release(
        "auto",
        {
            "BraTS-MEN-RT-0001-1": "BraTS-MEN-RT-Train-v2/BraTS-MEN-RT-0001-1",
            "BraTS-MEN-RT-0002-1": "BraTS-MEN-RT-Train-v2/BraTS-MEN-RT-0002-1",
        },
        {"BraTS-MEN-RT-0001-1": NATIVE, "BraTS-MEN-RT-0002-1": UCSD},
    ),
    "upenn-gbm": Release(
        "auto",
        {
            case: f"NIfTI-files/images_structural/{case}"
            for case in ("UPENN-GBM-00001_11", "UPENN-GBM-00001_21", "UPENN-GBM-00002_11")
        },
        labels={
            "UPENN-GBM-00001_11": "NIfTI-files/images_segm/UPENN-GBM-00001_11_segm.nii.gz",
            "UPENN-GBM-00001_21": "NIfTI-files/automated_segm/UPENN-GBM-00001_21_automated_approx_segm.nii.gz",
            "UPENN-GBM-00002_11": "NIfTI-files/automated_segm/UPENN-GBM-00002_11_automated_approx_segm.nii.gz",
        },
        others=(
            "NIfTI-files/automated_segm/UPENN-GBM-00001_11_automated_approx_segm.nii.gz",
            "NIfTI-files/images_structural_unstripped/UPENN-GBM-00001_11/UPENN-GBM-00001_11_T1_unstripped.nii.gz",
        ),
    ),
    "ucsf-pdgm": Release(
        "auto",
        {
            "UCSF-PDGM-0004": "UCSF-PDGM-v3/UCSF-PDGM-0004_nifti",
            "UCSF-PDGM-0429": "UCSF-PDGM-v3/UCSF-PDGM-0429_nifti",
            "UCSF-PDGM-0429_FU003d": "UCSF-PDGM-v3/UCSF-PDGM-0429_FU003d_nifti",
        },
        others=tuple(
            f"UCSF-PDGM-v3/UCSF-PDGM-0004_nifti/UCSF-PDGM-0004_{what}.nii.gz"
            for what in ("T1_bias", "T1c_bias", "T2_bias", "FLAIR_bias", "DWI", "ADC", "SWI", "DTI_eddy_FA",
                         "brain_segmentation", "brain_parenchyma_segmentation")
        ),
    ),
    "brats-tcga": Release(
        "auto",
        {
            "TCGA-02-0006_1996.08.23": "Pre-operative_TCGA_GBM_NIfTI_and_Segmentations/TCGA-02-0006",
            "TCGA-CS-4942_1997.02.22": "Pre-operative_TCGA_LGG_NIfTI_and_Segmentations/TCGA-CS-4942",
        },
        labels={
            "TCGA-CS-4942_1997.02.22": (
                "Pre-operative_TCGA_LGG_NIfTI_and_Segmentations/TCGA-CS-4942/"
                "TCGA-CS-4942_1997.02.22_GlistrBoost.nii.gz"
            ),
        },
        others=(
            "Pre-operative_TCGA_GBM_NIfTI_and_Segmentations/TCGA-02-0006/"
            "TCGA-02-0006_1996.08.23_GlistrBoost.nii.gz",
        ),
    ),
}  # fmt: skip


def make_release(root: Path, key: str) -> dict[str, Path]:
    """Write the files of a release; return the label map of each case."""
    release, random = RELEASES[key], np.random.default_rng(0)
    for case in release.cases:
        make_images(root, key, case, random)
    labels = {case: label_path(root, key, case) for case in release.cases}
    for case, path in labels.items():
        write_labels(path, key, case, random)
    for other in release.others:
        path = root / other
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no image, and not to be opened")
    return labels


def grid_of(key: str, case: str) -> Grid:
    return RELEASES[key].grids.get(case, SRI24)


def make_images(root: Path, key: str, case: str, random):
    grid, edition = grid_of(key, case), EDITIONS[key]
    for channel in edition.channels:
        image = grid.image(random.integers(1, 900, grid.shape, dtype=np.int16))
        write(image, root / RELEASES[key].cases[case] / edition.file_name(case, channel))


def write_labels(path: Path, key: str, case: str, random):
    """Write a label map of all values that the edition has."""
    values = np.array(sorted(EDITIONS[key].tissues))
    labels = random.choice(values, grid_of(key, case).shape)
    labels.flat[: len(values)] = values
    write(grid_of(key, case).image(labels.astype(RELEASES[key].label_type)), path)


def label_path(root: Path, key: str, case: str) -> Path:
    release = RELEASES[key]
    return root / release.labels.get(case, f"{release.cases[case]}/{EDITIONS[key].file_name(case, SEGMENTATION)}")


def write(image: sitk.Image, path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
