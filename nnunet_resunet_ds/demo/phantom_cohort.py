"""A cohort of phantoms in the BraTS 2021 layout, some cases held out with their truth kept apart."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from tqdm import tqdm

from dataset_conversion.editions import CHANNEL_NAMES, EDITIONS, SEGMENTATION
from dataset_conversion.labels import raw_labels
from nnunet_resunet_ds.demo.phantom import ANATOMY, Anatomy, Phantom, make_phantom

EDITION = EDITIONS["2021"]
FIRST_CASE = 90000
"""Case numbers start here, far above those of BraTS 2021."""
WITHOUT_ET_EVERY = 4
"""Every fourth case has no enhancing tumour."""


def make_cohort(folder: Path, n_training: int, n_held_out: int, anatomy: Anatomy = ANATOMY) -> tuple[Path, Path, Path]:
    """Write phantoms and return the folders of training cases, held-out images, and held-out truth.

    Args:
        folder: parent of the three.
        n_training: cases with images and segmentation.
        n_held_out: cases whose segmentation goes to the truth folder, as ``CASE_seg.nii.gz``.
        anatomy: of all cases.
    """
    training, held_out, truth = (folder / name for name in ("training", "held_out", "held_out_truth"))
    for number in tqdm(range(n_training + n_held_out), desc="make phantoms", unit="case"):
        case_id = f"BraTS2021_{FIRST_CASE + number:05d}"
        enhancing = number % WITHOUT_ET_EVERY != WITHOUT_ET_EVERY - 1
        phantom = make_phantom(FIRST_CASE + number, enhancing=enhancing, anatomy=anatomy)
        is_training = number < n_training
        case_folder = (training if is_training else held_out) / case_id
        _write_images(phantom, case_folder, case_id)
        _write_segmentation(phantom, case_folder if is_training else truth, case_id)
    return training, held_out, truth


def _write_images(phantom: Phantom, folder: Path, case_id: str) -> None:
    for channel, image in zip(CHANNEL_NAMES, phantom.images, strict=True):
        _write(image, folder / EDITION.file_name(case_id, channel))


def _write_segmentation(phantom: Phantom, folder: Path, case_id: str) -> None:
    _write(raw_labels(phantom.labels, EDITION.tissues), folder / EDITION.file_name(case_id, SEGMENTATION))


def _write(values: NDArray[np.integer], path: Path) -> None:
    """Write with BraTS' geometry: 1 mm, identity direction, the origin at the far end of the second axis."""
    image = sitk.GetImageFromArray(values)
    image.SetOrigin((0.0, -(values.shape[1] - 1.0), 0.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
