"""Translate nnU-Net's training transforms into their counterparts on the device."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTransform
from batchgeneratorsv2.transforms.utils.seg_to_regions import ConvertSegmentationToRegionsTransform

from nnunet_resunet_ds.training.augmentation.blur import GaussianBlur
from nnunet_resunet_ds.training.augmentation.brightness import Brightness
from nnunet_resunet_ds.training.augmentation.contrast import Contrast
from nnunet_resunet_ds.training.augmentation.gamma import Gamma
from nnunet_resunet_ds.training.augmentation.low_resolution import LowResolution
from nnunet_resunet_ds.training.augmentation.mirror import Mirror
from nnunet_resunet_ds.training.augmentation.nnunet_settings import NotOnDeviceError, reading
from nnunet_resunet_ds.training.augmentation.noise import GaussianNoise
from nnunet_resunet_ds.training.augmentation.spatial import Spatial
from nnunet_resunet_ds.training.augmentation.targets import MaskedImage, Regions, ReplacedLabel
from nnunet_resunet_ds.training.augmentation.transform import Sometimes, Transform

COUNTERPARTS: Mapping[type, Callable[[Any], Transform[Any]]] = {
    RandomTransform: lambda random: Sometimes(translated(random.transform), random.apply_probability),
    GaussianNoiseTransform: GaussianNoise.like,
    GaussianBlurTransform: GaussianBlur.like,
    MultiplicativeBrightnessTransform: Brightness.like,
    ContrastTransform: Contrast.like,
    SimulateLowResolutionTransform: LowResolution.like,
    GammaTransform: Gamma.like,
    MirrorTransform: Mirror.like,
    MaskImageTransform: MaskedImage.like,
    RemoveLabelTransform: ReplacedLabel.like,
    ConvertSegmentationToRegionsTransform: Regions.like,
}
"""By exact type: a subclass may do something else."""


class Pipeline(NamedTuple):
    """What is done with each crop, in this order."""

    spatial: Spatial
    transforms: tuple[Transform[Any], ...]
    scales: tuple[tuple[float, ...], ...] | None
    """Of the target of each head; None where there is one target and no list."""


def pipeline_like(transforms: Any, labels: Sequence[int]) -> Pipeline:  # noqa: ANN401 (batchgeneratorsv2 has no types)
    """Return the counterpart of what ``get_training_transforms`` returns.

    Args:
        transforms: in nnU-Net's order: the patch is taken first, and targets are sampled down last.
        labels: every value that a segmentation may hold inside a case.

    Raises:
        NotOnDeviceError: a transform, or a setting of one, has no counterpart.
    """
    if type(transforms) is not ComposeTransforms or not transforms.transforms:
        msg = f"{type(transforms).__name__} instead of a list of transforms"
        raise NotOnDeviceError(msg)
    first, *others = transforms.transforms
    if type(first) is not SpatialTransform:
        msg = f"{type(first).__name__} comes first"
        raise NotOnDeviceError(msg)
    scales = None
    if others and type(others[-1]) is DownsampleSegForDSTransform:
        scales = tuple(tuple(scale) for scale in others.pop().ds_scales)
    with reading(first):
        spatial = Spatial.like(first, labels)
    return Pipeline(spatial, tuple(map(translated, others)), scales)


def translated(transform: Any) -> Transform[Any]:  # noqa: ANN401 (batchgeneratorsv2 has no types)
    """Return the counterpart of one transform.

    Raises:
        NotOnDeviceError: it has none; the message names it.
    """
    counterpart = COUNTERPARTS.get(type(transform))
    if counterpart is None:
        msg = f"{type(transform).__name__} is not among them"
        raise NotOnDeviceError(msg)
    with reading(transform):
        return counterpart(transform)
