"""Make phantoms: made-up brains with a tumour in four MRI contrasts, hard enough that a network has much to learn.

Contrasts of neighbouring tissues overlap, oedema fades into the brain, the enhancing rim in the images differs a little
from the drawn one, bias and noise vary from case to case, and there are bright spots that are no tumour. Lengths are in
voxels of 1 mm, axes Z, Y, X.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from tqdm import tqdm

from dataset_conversion.editions import CHANNEL_NAMES, EDITIONS, SEGMENTATION
from dataset_conversion.labels import raw_labels
from nnunet_resunet_ds.base.regions import Tissue

EDITION = EDITIONS["2021"]
"""Of the file names and label values of a cohort."""
FIRST_CASE = 90000
"""Number of the first case, far above those of BraTS 2021."""
WITHOUT_ET_EVERY = 4
"""Every fourth case has no enhancing tumour."""

Volume = NDArray[np.floating]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Anatomy:
    """Size and noise of the phantoms of a cohort."""

    shape: tuple[int, int, int]
    brain_radii: tuple[int, int, int]
    noise: tuple[float, float]
    """Least and most standard deviation of a case, where white matter in T1 is 620."""


ANATOMY = Anatomy(shape=(68, 80, 72), brain_radii=(25, 31, 26), noise=(30, 60))

DISAGREEMENT = 2.0
"""Standard deviation in voxels of the difference between the enhancing rim in the images and the drawn one; the two
agree to a Dice of 0.83 on average."""


class Brain(IntEnum):
    """Healthy tissues, numbered after those of the tumour."""

    WHITE_MATTER = 10
    GREY_MATTER = 11
    FLUID = 12


# Mean intensity in T1, T1ce, T2, FLAIR. Oedema is close to grey matter in all but T2 and FLAIR, where bright lesions of
# age mimic it; necrosis is close to fluid; enhancement is close to a vessel.
_INTENSITIES = {
    Brain.WHITE_MATTER: (620, 640, 300, 420),
    Brain.GREY_MATTER: (500, 530, 400, 510),
    Brain.FLUID: (280, 290, 720, 240),
    Tissue.ED: (510, 530, 520, 640),
    Tissue.NCR: (360, 370, 640, 450),
    Tissue.ET: (500, 860, 470, 590),
}
_VESSEL_IN_T1CE = 880
_AGE_LESION_IN_T2_AND_FLAIR = (500, 640)


@dataclass(frozen=True)
class Phantom:
    """One made-up case."""

    images: NDArray[np.int16]
    """(4, Z, Y, X): T1, T1ce, T2, FLAIR; 0 outside the brain."""
    labels: NDArray[np.uint8]
    """(Z, Y, X) in nnU-Net's values."""


def make_cohort(folder: Path, n_training: int, n_held_out: int, anatomy: Anatomy = ANATOMY) -> tuple[Path, Path, Path]:
    """Write phantoms in the BraTS 2021 layout, and return the folders of training cases, held-out images and truth.

    Args:
        folder: of the three folders.
        n_training: cases with images and segmentation.
        n_held_out: cases with their segmentation in the truth folder, as ``CASE_seg.nii.gz``.
        anatomy: size of image and brain, and noise.
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


def make_phantom(seed: int, *, enhancing: bool = True, anatomy: Anatomy = ANATOMY) -> Phantom:
    """Make one case; the same seed gives the same case.

    Args:
        seed: of everything random in it.
        enhancing: whether the tumour has an enhancing part.
        anatomy: size of image and brain, and noise.
    """
    canvas = _Canvas(anatomy.shape, np.random.default_rng(seed))
    brain = _brain(canvas, anatomy.brain_radii)
    tissues = _healthy_tissues(brain, canvas)
    labels, painted = _tumour(brain, canvas, enhancing=enhancing)
    tissues = np.where(painted != Tissue.BACKGROUND, painted, tissues)
    images = np.stack([_blurred(_paint(tissues, channel), brain, sigma=0.7) for channel in range(4)])
    images = _infiltrated(images, labels, brain, canvas)
    _add_mimics(images, brain & (labels == Tissue.BACKGROUND), canvas)
    return Phantom(_acquired(images, brain, canvas, anatomy.noise), labels)


@dataclass(frozen=True)
class _Canvas:
    """The grid of a phantom, and its random numbers."""

    shape: tuple[int, int, int]
    random: np.random.Generator

    def noise(self, scale: float) -> Volume:
        """Return a smooth random field of mean 0 and standard deviation 1; ``scale`` is the width of its bumps."""
        field = gaussian_filter(self.random.standard_normal(self.shape), scale, mode="wrap")
        normalised: Volume = (field - field.mean()) / field.std()
        return normalised

    def offsets(self, centre: NDArray[np.floating]) -> list[Volume]:
        """Return the distance from ``centre`` along each axis, broadcastable to the whole volume."""
        return list(
            np.meshgrid(
                *[np.arange(n) - c for n, c in zip(self.shape, centre, strict=True)], indexing="ij", sparse=True
            )
        )

    def from_the_middle(self) -> list[Volume]:
        """Return the distance from the middle along each axis."""
        return self.offsets((np.array(self.shape) - 1) / 2)


def _brain(canvas: _Canvas, radii: Sequence[float]) -> Mask:
    """Return an egg with a flat base, a fissure between the halves and gyri on the surface."""
    z, y, x = canvas.from_the_middle()
    rz, ry, rx = (radius * canvas.random.uniform(0.94, 1.04) for radius in radii)
    taper = 1 - 0.12 * y / ry  # narrower at the front
    radius = np.sqrt((z / rz) ** 2 + (y / ry) ** 2 + (x / (rx * taper)) ** 2)
    radius += 0.035 * canvas.noise(2.5)
    fissure = (np.abs(x) < 1) & (z > 0.55 * rz)
    brain: Mask = (radius < 1) & (z > -0.72 * rz) & ~fissure
    return brain


def _healthy_tissues(brain: Mask, canvas: _Canvas) -> NDArray[np.uint8]:
    depth = distance_transform_edt(brain)
    tissues = np.full(canvas.shape, Brain.WHITE_MATTER, dtype=np.uint8)
    tissues[depth < 3.5 + 1.8 * canvas.noise(2.5)] = Brain.GREY_MATTER
    tissues[depth < 0.9 + 0.5 * canvas.noise(2.0)] = Brain.FLUID
    z, y, x = canvas.from_the_middle()
    ventricle = ((z - 2) / 6) ** 2 + (y / 12) ** 2 + ((np.abs(x) - 4.5) / 3) ** 2
    tissues[ventricle + 0.25 * canvas.noise(3) < 1] = Brain.FLUID
    tissues[~brain] = Tissue.BACKGROUND
    return tissues


def _tumour(brain: Mask, canvas: _Canvas, *, enhancing: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return nested irregular blobs: oedema around a core, its rim enhancing, its middle necrotic.

    Twice: as a reader drew it, and as the images show it, where the rim is thicker here and thinner there. Readers
    disagree on enhancement, too, and no network can know what they drew.
    """
    depth = distance_transform_edt(brain)
    candidates = np.argwhere((depth > 7) & (depth < 16))
    centre = candidates[canvas.random.integers(len(candidates))]
    stretch = canvas.random.uniform(0.8, 1.25, size=3)
    offsets = canvas.offsets(centre)
    radius = np.sqrt(sum((offset / s) ** 2 for offset, s in zip(offsets, stretch, strict=True)))
    core_radius = canvas.random.uniform(6, 9)
    oedema_radius = core_radius + canvas.random.uniform(2.5, 6)
    rim = canvas.random.uniform(1.8, 3.5)
    rough, fine = canvas.noise(4), canvas.noise(1.6)
    core = radius + 1.6 * rough + 0.7 * fine
    labels = np.zeros(canvas.shape, dtype=np.uint8)
    labels[radius + 3.0 * rough + 1.2 * fine < oedema_radius] = Tissue.ED
    labels[core < core_radius] = Tissue.NCR
    labels[~brain] = Tissue.BACKGROUND
    painted = labels.copy()
    if enhancing:
        patchy = (labels == Tissue.NCR) & (fine > -0.9)  # the rim is broken here and there
        labels[patchy & (core > core_radius - rim)] = Tissue.ET
        painted[patchy & (core > core_radius - rim + DISAGREEMENT * canvas.noise(1.6))] = Tissue.ET
    return labels, painted


def _paint(tissues: NDArray[np.uint8], channel: int) -> Volume:
    table = np.zeros(max(Brain) + 1)
    for tissue, intensities in _INTENSITIES.items():
        table[tissue] = intensities[channel]
    painted: Volume = table[tissues]
    return painted


def _blurred(image: Volume, brain: Mask, sigma: float) -> Volume:
    """Blur inside the brain only, as partial volumes do: the background stays out of it."""
    weight = gaussian_filter(brain.astype(float), sigma)
    blurred: Volume = gaussian_filter(image * brain, sigma) / np.maximum(weight, 1e-6) * brain
    return blurred


def _infiltrated(images: Volume, labels: NDArray[np.uint8], brain: Mask, canvas: _Canvas) -> Volume:
    """Fade oedema into the brain around it: its outline in the images is not where the label ends."""
    tumour = (labels != Tissue.BACKGROUND).astype(float)
    strength = np.clip(0.75 + 0.25 * canvas.noise(3), 0.25, 1)
    share = gaussian_filter(tumour, canvas.random.uniform(1.0, 1.8)) * strength * (labels == Tissue.BACKGROUND)
    oedema = np.array(_INTENSITIES[Tissue.ED], dtype=float).reshape(4, 1, 1, 1)
    mixed: Volume = images + share * brain * (oedema - images)
    return mixed


def _add_mimics(images: Volume, healthy: Mask, canvas: _Canvas) -> None:
    """Add vessels, bright in T1ce only, and age lesions, bright in T2 and FLAIR, where there is no tumour."""
    for _ in range(canvas.random.integers(4, 9)):
        _blend(images[1:2], _spot(healthy, canvas.random.uniform(1.0, 2.2), canvas), (_VESSEL_IN_T1CE,))
    for _ in range(canvas.random.integers(2, 6)):
        _blend(images[2:4], _spot(healthy, canvas.random.uniform(1.5, 4.0), canvas), _AGE_LESION_IN_T2_AND_FLAIR)


def _spot(healthy: Mask, radius: float, canvas: _Canvas) -> Volume:
    """Return a soft ball of height 1 somewhere in healthy brain."""
    candidates = np.argwhere(healthy)
    centre = candidates[canvas.random.integers(len(candidates))]
    offsets = canvas.offsets(centre)
    distance = np.sqrt(sum(offset**2 for offset in offsets))
    ball: Volume = np.clip(radius + 0.5 - distance, 0, 1) * healthy
    return ball


def _blend(images: Volume, share: Volume, intensities: tuple[int, ...]) -> None:
    images += share * (np.reshape(intensities, (-1, 1, 1, 1)) - images)


def _acquired(images: Volume, brain: Mask, canvas: _Canvas, noise: tuple[float, float]) -> NDArray[np.int16]:
    """Add what a scanner adds, different in every case and contrast: gain, bias field and Rician noise."""
    acquired = np.zeros(images.shape, dtype=np.int16)
    for channel, image in enumerate(images):
        bias = np.exp(canvas.random.uniform(0.05, 0.16) * canvas.noise(18))
        texture = 1 + 0.04 * canvas.noise(1.5)
        sigma = canvas.random.uniform(*noise)
        signal = image * bias * texture
        noisy = np.hypot(
            signal + sigma * canvas.random.standard_normal(canvas.shape),
            sigma * canvas.random.standard_normal(canvas.shape),
        )
        acquired[channel] = np.clip(noisy * canvas.random.uniform(0.7, 1.5), 1, np.iinfo(np.int16).max) * brain
    return acquired
