"""Name what is odd about a case, or unlike those that the model was trained on; it is predicted all the same."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk

from dataset_conversion.exchanged import exchanged_by_content
from dataset_conversion.find_cases import RawCase
from dataset_conversion.image_cases import Images, LoadedCase
from dataset_conversion.intensity import brain_mask, intensity_warnings, is_empty
from nnunet_resunet_ds.base.case_notes import TRAINING_CASE
from nnunet_resunet_ds.base.images import shortened
from nnunet_resunet_ds.base.reader_space import TURNING_READERS, orientation
from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.inference.preprocessing import Preprocessed

MAX_INTENSITY_RATIO = 3
"""How far beyond the training tumours' intensities a case may lie: scanners differ by factors."""
MAX_SIZE_RATIO = 1.12
"""Between a case and the median of training, in mm, as the geometric mean of the axes. Brains of eighteen adults were
within 6 % of their median; an infant's is smaller by more than a tenth, a whole head larger by a fifth."""
SPACING_TOLERANCE = 0.02
"""Share by which voxels may be larger or smaller than those of training."""
_BRATS_ORIENTATION = "LPS"
"""Of BraTS files: the axes of their voxels point left, to the back and up."""
_NOT_STRIPPED = "not skull-stripped?"
"""Kind of warning that whole heads give, which are as they should be for a model of whole heads."""


def input_warnings(loaded: LoadedCase, cases: Sequence[Preprocessed], models: Sequence[Model]) -> list[str]:
    """Return what is odd about the images of a case that is predicted all the same: ``KIND: detail``.

    Args:
        loaded: its images.
        cases: as preprocessed for each model.
        models: that are to predict it.
    """
    warnings = list(loaded.notes)
    if loaded.elsewhere:
        warnings.append(f"not co-registered?: {'; '.join(loaded.elsewhere)}")
    if any(model.reader not in TURNING_READERS for model in models):
        warnings += _orientation_warnings(loaded.grid)
    return list(dict.fromkeys([*warnings, *image_warnings(loaded.images, loaded.spacing, cases, models)]))


def image_warnings(
    images: Images, spacing: Sequence[float], cases: Sequence[Preprocessed], models: Sequence[Model]
) -> list[str]:
    """Return what is odd about images, wherever they come from: ``KIND: detail``.

    Args:
        images: (C, Z, Y, X).
        spacing: in mm, (Z, Y, X).
        cases: as preprocessed for each model.
        models: that are to predict them.
    """
    channels = zip(models[0].channels, images, strict=True)
    values = {name: image for name, image in channels if not is_empty(image)}  # zeros stand for what is absent
    warnings = intensity_warnings(values, brain_mask(values))
    if any(model.is_of_stripped_heads for model in models):
        warnings += exchanged_by_content(values, spacing)
    else:
        warnings = [warning for warning in warnings if not warning.startswith(_NOT_STRIPPED)]
    for model, case in zip(models, cases, strict=True):
        properties = model.plans.foreground_intensity_properties_per_channel
        warnings += intensities_unlike_training(images, model.channels, properties)
        warnings += [*_spacing_warnings(model, case), *_size_warnings(model, case)]
    return list(dict.fromkeys(warnings))


def training_case_warnings(case: RawCase, models: Sequence[Model]) -> list[str]:
    """Say so where a case, or its images, have the name of one that a model was trained on."""
    if not any({case.case_id, case.name_in_files} & model.training_cases for model in models):
        return []
    return [f"{TRAINING_CASE}: the model was trained on one of this name, so this result says nothing of new cases"]


def _spacing_warnings(model: Model, case: Preprocessed) -> list[str]:
    """Name a spacing that training images did not have, whatever spacing the network works in."""
    axes = model.plans.transpose_forward
    own = [case.properties["spacing"][axis] for axis in axes]
    trained = _original(model, "spacing") or list(model.configuration.spacing)
    if np.allclose(own, trained, rtol=SPACING_TOLERANCE):
        return []
    in_file_order = [shortened(tuple(values[axes.index(axis)] for axis in range(3))) for values in (own, trained)]
    done = ", so it was resampled as nnU-Net does" if case.is_resampled else ""
    return [f"another spacing than in training: {in_file_order[0]} mm instead of {in_file_order[1]}{done}"]


def _size_warnings(model: Model, case: Preprocessed) -> list[str]:
    """Name a brain, or head, that is much smaller or larger than those of training."""
    shape, spacing = _original(model, "shape"), _original(model, "spacing")
    if shape is None or spacing is None:
        return []
    own_spacing = [case.properties["spacing"][axis] for axis in model.plans.transpose_forward]
    own = np.multiply(case.properties["shape_after_cropping_and_before_resampling"], own_spacing)
    trained = np.multiply(shape, spacing)
    ratio = float(np.prod(own / trained) ** (1 / 3))
    if 1 / MAX_SIZE_RATIO <= ratio <= MAX_SIZE_RATIO:
        return []
    sizes = [" × ".join(f"{axis:.0f}" for axis in values) for values in (own, trained)]
    word = "smaller" if ratio < 1 else "larger"
    return [f"{word} than in training: what is not zero measures {sizes[0]} mm, in training {sizes[1]} mm (median)"]


def _original(model: Model, what: str) -> list[float] | None:
    """Return the median shape or spacing of the training images, in the network's axis order; None in old plans."""
    values: list[float] | None = model.plans.plans.get(f"original_median_{what}_after_transp")
    return values


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
        brain = values[values != 0]
        if not brain.size:
            continue  # the case lacks it
        median = float(np.median(brain))
        if low > 0:
            least, most = low / MAX_INTENSITY_RATIO, high * MAX_INTENSITY_RATIO
        else:  # of images that were normalised before
            least, most = low - (high - low), high + (high - low)
        if not least <= median <= most:
            warnings.append(
                f"intensities unlike training: {name} has the median {median:.4g}, tumours had {low:.4g} to {high:.4g}"
            )
    return warnings


def _orientation_warnings(grid: sitk.Image) -> list[str]:
    stored = orientation(grid)
    if stored == _BRATS_ORIENTATION:
        return []
    return [
        f"another orientation than BraTS': {stored} instead of {_BRATS_ORIENTATION}; the network sees the axes as "
        "stored, as nnU-Net does, so reorient the images if the training images were not stored so"
    ]
