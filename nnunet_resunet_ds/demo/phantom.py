"""Made-up brain tumours in four MRI contrasts: hard enough that a network has something to learn.

Contrasts of neighbouring tissues overlap, oedema fades into the brain, the rim that enhances is not quite the rim that
was drawn, bias and noise vary from case to case, and bright spots that are no tumour lie about. Lengths are in voxels
of 1 mm, axes Z, Y, X.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from nnunet_resunet_ds.regions import Tissue

Volume = NDArray[np.floating]
Mask = NDArray[np.bool_]
Random = np.random.Generator

SHAPE = (68, 80, 72)
BRAIN_RADII = (25, 31, 26)
DISAGREEMENT = 2.0
"""Standard deviation, by which the enhancing rim is thicker or thinner in the images than as drawn; drawn and painted
ET agree to a Dice of 0.83 on average."""


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


def make_phantom(seed: int, *, enhancing: bool = True) -> Phantom:
    """Make one case; the same seed gives the same case.

    Args:
        seed: of everything random in it.
        enhancing: whether the tumour has an enhancing part.
    """
    random = np.random.default_rng(seed)
    brain = _brain(random)
    tissues = _healthy_tissues(brain, random)
    labels, painted = _tumour(brain, random, enhancing=enhancing)
    tissues = np.where(painted != Tissue.BACKGROUND, painted, tissues)
    images = np.stack([_blurred(_paint(tissues, channel), brain, sigma=0.7) for channel in range(4)])
    images = _infiltrated(images, labels, brain, random)
    _add_mimics(images, brain & (labels == Tissue.BACKGROUND), random)
    return Phantom(_acquired(images, brain, random), labels)


def _noise(scale: float, random: Random) -> Volume:
    """Return a smooth random field of mean 0 and standard deviation 1; ``scale`` is the width of its bumps."""
    field = gaussian_filter(random.standard_normal(SHAPE), scale, mode="wrap")
    normalised: Volume = (field - field.mean()) / field.std()
    return normalised


def _offsets(centre: NDArray[np.floating]) -> list[Volume]:
    """Return the distance from ``centre`` along each axis, broadcastable to the whole volume."""
    return list(
        np.meshgrid(*[np.arange(n) - c for n, c in zip(SHAPE, centre, strict=True)], indexing="ij", sparse=True)
    )


def _from_the_middle() -> list[Volume]:
    return _offsets((np.array(SHAPE) - 1) / 2)


def _brain(random: Random) -> Mask:
    """Return an egg with a flat base, a fissure between the halves and gyri on the surface."""
    z, y, x = _from_the_middle()
    rz, ry, rx = (radius * random.uniform(0.94, 1.04) for radius in BRAIN_RADII)
    taper = 1 - 0.12 * y / ry  # narrower at the front
    radius = np.sqrt((z / rz) ** 2 + (y / ry) ** 2 + (x / (rx * taper)) ** 2)
    radius += 0.035 * _noise(2.5, random)
    fissure = (np.abs(x) < 1) & (z > 0.55 * rz)
    brain: Mask = (radius < 1) & (z > -0.72 * rz) & ~fissure
    return brain


def _healthy_tissues(brain: Mask, random: Random) -> NDArray[np.uint8]:
    depth = distance_transform_edt(brain)
    tissues = np.full(SHAPE, Brain.WHITE_MATTER, dtype=np.uint8)
    tissues[depth < 3.5 + 1.8 * _noise(2.5, random)] = Brain.GREY_MATTER
    tissues[depth < 0.9 + 0.5 * _noise(2.0, random)] = Brain.FLUID
    z, y, x = _from_the_middle()
    ventricle = ((z - 2) / 6) ** 2 + (y / 12) ** 2 + ((np.abs(x) - 4.5) / 3) ** 2
    tissues[ventricle + 0.25 * _noise(3, random) < 1] = Brain.FLUID
    tissues[~brain] = Tissue.BACKGROUND
    return tissues


def _tumour(brain: Mask, random: Random, *, enhancing: bool) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return nested irregular blobs: oedema around a core, its rim enhancing, its middle necrotic.

    Twice: as a reader drew it, and as the images show it, where the rim is thicker here and thinner there. Readers
    disagree on enhancement, too, and no network can know what they drew.
    """
    depth = distance_transform_edt(brain)
    candidates = np.argwhere((depth > 7) & (depth < 16))
    centre = candidates[random.integers(len(candidates))]
    stretch = random.uniform(0.8, 1.25, size=3)
    offsets = _offsets(centre)
    radius = np.sqrt(sum((offset / s) ** 2 for offset, s in zip(offsets, stretch, strict=True)))
    core_radius = random.uniform(6, 9)
    oedema_radius = core_radius + random.uniform(2.5, 6)
    rim = random.uniform(1.8, 3.5)
    rough, fine = _noise(4, random), _noise(1.6, random)
    core = radius + 1.6 * rough + 0.7 * fine
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[radius + 3.0 * rough + 1.2 * fine < oedema_radius] = Tissue.ED
    labels[core < core_radius] = Tissue.NCR
    labels[~brain] = Tissue.BACKGROUND
    painted = labels.copy()
    if enhancing:
        patchy = (labels == Tissue.NCR) & (fine > -0.9)  # the rim is broken here and there
        labels[patchy & (core > core_radius - rim)] = Tissue.ET
        painted[patchy & (core > core_radius - rim + DISAGREEMENT * _noise(1.6, random))] = Tissue.ET
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


def _infiltrated(images: Volume, labels: NDArray[np.uint8], brain: Mask, random: Random) -> Volume:
    """Fade oedema into the brain around it: its outline in the images is not where the label ends."""
    tumour = (labels != Tissue.BACKGROUND).astype(float)
    strength = np.clip(0.75 + 0.25 * _noise(3, random), 0.25, 1)
    share = gaussian_filter(tumour, random.uniform(1.0, 1.8)) * strength * (labels == Tissue.BACKGROUND)
    oedema = np.array(_INTENSITIES[Tissue.ED], dtype=float).reshape(4, 1, 1, 1)
    mixed: Volume = images + share * brain * (oedema - images)
    return mixed


def _add_mimics(images: Volume, healthy: Mask, random: Random) -> None:
    """Add vessels, bright in T1ce only, and age lesions, bright in T2 and FLAIR, where there is no tumour."""
    for _ in range(random.integers(4, 9)):
        _blend(images[1:2], _spot(healthy, random.uniform(1.0, 2.2), random), (_VESSEL_IN_T1CE,))
    for _ in range(random.integers(2, 6)):
        _blend(images[2:4], _spot(healthy, random.uniform(1.5, 4.0), random), _AGE_LESION_IN_T2_AND_FLAIR)


def _spot(healthy: Mask, radius: float, random: Random) -> Volume:
    """Return a soft ball of height 1 somewhere in healthy brain."""
    candidates = np.argwhere(healthy)
    centre = candidates[random.integers(len(candidates))]
    offsets = _offsets(centre)
    distance = np.sqrt(sum(offset**2 for offset in offsets))
    ball: Volume = np.clip(radius + 0.5 - distance, 0, 1) * healthy
    return ball


def _blend(images: Volume, share: Volume, intensities: tuple[int, ...]) -> None:
    images += share * (np.reshape(intensities, (-1, 1, 1, 1)) - images)


def _acquired(images: Volume, brain: Mask, random: Random) -> NDArray[np.int16]:
    """Add what a scanner adds, different in every case and contrast: gain, bias field and Rician noise."""
    acquired = np.zeros(images.shape, dtype=np.int16)
    for channel, image in enumerate(images):
        bias = np.exp(random.uniform(0.05, 0.16) * _noise(18, random))
        texture = 1 + 0.04 * _noise(1.5, random)
        sigma = random.uniform(30, 60)
        signal = image * bias * texture
        noisy = np.hypot(signal + sigma * random.standard_normal(SHAPE), sigma * random.standard_normal(SHAPE))
        acquired[channel] = np.clip(noisy * random.uniform(0.7, 1.5), 1, np.iinfo(np.int16).max) * brain
    return acquired
