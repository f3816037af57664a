"""Spoil the images of a case as scanners, patients and users do, by a degree from 0 to 1."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift

Images = NDArray[np.floating]
"""(C, Z, Y, X), background 0."""
Corruption = Callable[[Images, float, np.random.Generator], Images]

MOST_NOISE = 2.5
"""Its standard deviation at degree 1, in those of the brain's intensities."""
FARTHEST = 8.0
"""How many voxels a head moves along an axis at degree 1, at most."""
MOST_MOVED = 0.9
"""Share of the lines of k-space that are of the moved head at degree 1."""
MOST_CUT = 0.8
"""Share of the brain that is not in the field of view at degree 1."""


def noise(images: Images, degree: float, random: np.random.Generator) -> Images:
    """Add normal noise to the brain."""
    brain = images != 0
    deviation = MOST_NOISE * degree * images[brain].std()
    return np.where(brain, images + deviation * random.standard_normal(images.shape), 0)


def motion(images: Images, degree: float, random: np.random.Generator) -> Images:
    """Take some lines of k-space, along the second axis, while the head lies elsewhere; each image on its own."""
    return np.stack([_moved(image, degree, random) for image in images])


def _moved(image: Images, degree: float, random: np.random.Generator) -> Images:
    elsewhere = shift(image, degree * random.uniform(-FARTHEST, FARTHEST, 3), order=1)
    lines = random.random(image.shape[1]) < MOST_MOVED * degree
    frequencies = np.fft.fftn(image)
    frequencies[:, lines] = np.fft.fftn(elsewhere)[:, lines]
    mixed: Images = np.abs(np.fft.ifftn(frequencies)) * (image != 0)
    return mixed


def wrong_modality(images: Images, degree: float, random: np.random.Generator) -> Images:
    """Put images in each other's place, as many as the degree is of all; of one, another stands in its place, too."""
    n = round(degree * len(images))
    spoilt = images.copy()
    if n == 1:
        place, taken = random.choice(len(images), 2, replace=False)
        spoilt[place] = images[taken]
    elif n:
        places = random.permutation(len(images))[:n]
        spoilt[places] = images[np.roll(places, 1)]
    return spoilt


def cut_field_of_view(images: Images, degree: float, random: np.random.Generator) -> Images:
    """Leave out one end of the brain along some axis."""
    axis = int(random.integers(1, 4))
    brain = np.flatnonzero((images != 0).any(axis=tuple({0, 1, 2, 3} - {axis})))
    n = round(MOST_CUT * degree * len(brain))
    lost = brain[:n] if random.random() < 0.5 else brain[len(brain) - n :]
    spoilt = images.copy()
    np.moveaxis(spoilt, axis, 0)[lost] = 0
    return spoilt


CORRUPTIONS: Mapping[str, Corruption] = {
    "noise": noise,
    "motion": motion,
    "wrong modality": wrong_modality,
    "cut field of view": cut_field_of_view,
}
