"""What is odd about the images of a case that is predicted all the same: ``KIND: detail``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk

from dataset_conversion.image_cases import Images, LoadedCase
from dataset_conversion.intensity import brain_mask, intensity_warnings
from nnunet_resunet_ds.base.images import shortened
from nnunet_resunet_ds.base.reader_space import TURNING_READERS, orientation
from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.inference.preprocessing import Preprocessed

MAX_RATIO = 3
"""How far beyond the training tumours' intensities a case may lie: scanners differ by factors."""
_AS_STORED = "LPS"
"""Orientation of BraTS files: the axes of their voxels point left, to the back and up."""


def input_warnings(loaded: LoadedCase, cases: Sequence[Preprocessed], models: Sequence[Model]) -> list[str]:
    """Return what is to be said of a case.

    Args:
        loaded: its images.
        cases: as preprocessed for each model.
        models: that are to predict it.
    """
    values = dict(zip(models[0].channels, loaded.images, strict=True))
    warnings = [*loaded.notes, *intensity_warnings(values, brain_mask(values))]
    if loaded.elsewhere:
        warnings.append(f"not co-registered?: {'; '.join(loaded.elsewhere)}")
    if any(model.reader not in TURNING_READERS for model in models):
        warnings += _orientation_warnings(loaded.grid)
    for model, case in zip(models, cases, strict=True):
        properties = model.plans.foreground_intensity_properties_per_channel
        warnings += intensities_unlike_training(loaded.images, model.channels, properties)
        if case.is_resampled:
            warnings.append(
                f"another spacing than in training: {shortened(loaded.spacing)} mm instead of "
                f"{shortened(tuple(model.configuration.spacing))}, so it was resampled as nnU-Net does"
            )
    return list(dict.fromkeys(warnings))


def intensities_unlike_training(
    images: Images, channels: Sequence[str], properties: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Name the channels whose median over the brain is far outside what 99 % of the training tumours' voxels had.

    Args:
        images: (C, Z, Y, X).
        channels: their names.
        properties: ``foreground_intensity_properties_per_channel`` of the plans.
    """
    warnings = []
    for number, (name, values) in enumerate(zip(channels, images, strict=True)):
        known = properties.get(str(number), {})
        low, high = known.get("percentile_00_5"), known.get("percentile_99_5")
        if low is None or high is None:
            continue
        median = float(np.median(values[values != 0]))
        if low > 0:
            least, most = low / MAX_RATIO, high * MAX_RATIO
        else:  # of images that were normalised before
            least, most = low - (high - low), high + (high - low)
        if not least <= median <= most:
            warnings.append(
                f"intensities unlike training: {name} has the median {median:.4g}, tumours had {low:.4g} to {high:.4g}"
            )
    return warnings


def _orientation_warnings(grid: sitk.Image) -> list[str]:
    stored = orientation(grid)
    if stored == _AS_STORED:
        return []
    return [
        f"another orientation than BraTS': {stored} instead of {_AS_STORED}; the network sees the axes as stored, as "
        "nnU-Net does, so reorient the images if the training images were not stored so"
    ]
