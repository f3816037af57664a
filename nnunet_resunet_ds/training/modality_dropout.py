"""Leave sequences out of training samples at random, so that the network learns to do with those that are left.

An absent sequence is an image of zeros, which nnU-Net's z-score leaves at 0: so a channel that is left out is 0
everywhere. Which ones are left out is drawn again for each sample.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_resunet_ds.base.errors import InputError

STREAM = 5
"""Tells these random numbers from others of the same seed, rank and epoch. Not 0, which NumPy takes for nothing."""
ZERO_STAYS_ZERO = ("ZScoreNormalization", "RescaleTo01Normalization", "RGBTo01Normalization", "NoNormalization")
"""nnU-Net's normalisations that make zeros of an image of zeros: all but that of CT."""


def check_dropout_fits(probability: float, schemes: Sequence[str]) -> None:
    """Refuse to leave channels out where an absent one would not be 0 in prediction.

    Args:
        probability: that a sample loses channels.
        schemes: nnU-Net's normalisation of each channel.

    Raises:
        InputError: a channel is normalised so that an image of zeros does not stay one.
    """
    for channel, scheme in enumerate(schemes):
        if probability and scheme not in ZERO_STAYS_ZERO:
            msg = (
                f"modality_dropout: channel {channel} is normalised by {scheme}, which does not leave an absent image "
                "at zero; set modality_dropout to 0 (resunet-ds plan --modality-dropout 0)"
            )
            raise InputError(msg)


def kept_channels(
    random: np.random.Generator, n_samples: int, n_channels: int, probability: float
) -> NDArray[np.bool_]:
    """Draw which channels of each sample stay: (n_samples, n_channels), at least one of each sample.

    Args:
        random: source of the numbers.
        n_samples: of the batch.
        n_channels: of a sample, at least 2.
        probability: that a sample loses any. Of all sets of channels that are neither none nor all, each is as likely.
    """
    everything = 2**n_channels - 1
    loses = random.random(n_samples) < probability
    some = random.integers(1, everything, n_samples)  # as bits: neither none nor all
    bits = np.where(loses, some, everything)[:, None] >> np.arange(n_channels)
    kept: NDArray[np.bool_] = bits % 2 == 1
    return kept


class ModalityDropout:
    """Leaves channels out of batches.

    Random numbers begin again in each epoch, by its number: an epoch that is run again, or first run after ``--c``,
    draws what it would have drawn.
    """

    def __init__(self, probability: float, n_channels: int, entropy: Sequence[int]) -> None:
        """Prepare.

        Args:
            probability: that a sample loses channels, 0 to 1.
            n_channels: sequences; what follows them in a batch, as in a cascade, stays.
            entropy: whole numbers of at least 0; each rank needs others.
        """
        self._probability = probability
        self._n_channels = n_channels
        self._entropy = tuple(entropy)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Draw the random numbers of this epoch from here on."""
        self._random = np.random.default_rng([*self._entropy, epoch, STREAM])

    def __call__(self, images: Tensor) -> Tensor:
        """Return images (B, C, Z, Y, X) in which the channels left out are 0; what was given is not changed."""
        left_out = torch.zeros(images.shape[:2], dtype=torch.bool)
        kept = kept_channels(self._random, len(images), self._n_channels, self._probability)
        left_out[:, : self._n_channels] = torch.from_numpy(~kept)
        if not left_out.any():
            return images
        return images.masked_fill(left_out.to(images.device, non_blocking=True)[..., None, None, None], 0)
