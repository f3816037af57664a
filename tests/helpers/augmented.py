"""nnU-Net's training transforms, and made-up samples for them."""

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from scipy.ndimage import gaussian_filter

LABELS = (0, 1, 2, 3)
REGIONS = [(1, 2, 3), (2, 3), (3,)]
SCALES = [[1.0] * 3, [0.5] * 3, [0.25] * 3]
PATCH = (24, 32, 20)
BOX = (39, 51, 33)
"""What nnU-Net cuts out for such a patch: larger, for rotation."""
ANGLE = 30 / 360 * 2 * np.pi
"""Largest, in nnU-Net."""


def nnunet_transforms(patch=PATCH, scales=SCALES, mirror_axes=(0, 1, 2), dummy_2d=False, **settings):
    """Return what nnU-Net's loading processes do, for BraTS."""
    settings = {"use_mask_for_norm": [True] * 4, "regions": REGIONS} | settings
    return nnUNetTrainer.get_training_transforms(patch, (-ANGLE, ANGLE), scales, mirror_axes, dummy_2d, **settings)


def smooth(shape, seed, width=2.0):
    """Return a smooth random field of mean 0 and deviation 1."""
    field = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), width)
    return (field - field.mean()) / field.std()


def made_up_sample(shape=BOX, seed=0):
    """Return an image (4, Z, Y, X), 0 in the background, and labels (1, Z, Y, X), -1 there."""
    edges = np.quantile(field := smooth(shape, seed, width=4.0), [0.25, 0.7, 0.8, 0.9])
    labels = np.digitize(field, edges).astype(np.int16) - 1
    image = np.stack([smooth(shape, seed * 4 + channel + 1) for channel in range(4)]) * (labels >= 0)
    return torch.from_numpy(image).float(), torch.from_numpy(labels)[None]


def middle(shape):
    return [size / 2 for size in shape]
