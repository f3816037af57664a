"""Distributions from which nnU-Net's transforms draw a parameter."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from batchgeneratorsv2.transforms.intensity.contrast import BGContrast

from nnunet_resunet_ds.training.augmentation.nnunet_settings import NotOnDeviceError


@dataclass(frozen=True)
class Uniform:
    """All numbers from ``low`` to ``high`` alike."""

    low: float
    high: float

    def draw(self, numbers: np.random.Generator) -> float:
        """Return one number."""
        return float(numbers.uniform(self.low, self.high))


@dataclass(frozen=True)
class AroundOne:
    """Half of the numbers from ``low`` to 1 and half from 1 to ``high``: batchgeneratorsv2's ``BGContrast``."""

    low: float
    high: float

    def draw(self, numbers: np.random.Generator) -> float:
        """Return one number."""
        if self.low < 1 and numbers.random() < 0.5:
            return float(numbers.uniform(self.low, 1))
        return float(numbers.uniform(max(self.low, 1), self.high))


Distribution = Uniform | AroundOne


def distribution(scalar: Any) -> Distribution:  # noqa: ANN401 (batchgeneratorsv2 takes what it calls a RandomScalar)
    """Return the distribution of a ``RandomScalar``.

    Args:
        scalar: a number, a pair of bounds, or ``BGContrast`` of a pair.

    Raises:
        NotOnDeviceError: another function.
    """
    if isinstance(scalar, int | float):
        return Uniform(scalar, scalar)
    if isinstance(scalar, list | tuple):
        return Uniform(*scalar)
    if type(scalar) is BGContrast and isinstance(scalar.contrast_range, list | tuple):
        return AroundOne(*scalar.contrast_range)
    msg = f"it draws from {scalar!r}"
    raise NotOnDeviceError(msg)
