"""That the background is exactly 0 where the network reads it: the salient channel stands on this (decision D4)."""

from collections.abc import Mapping
from typing import Any

from nnunetv2.preprocessing.normalization.default_normalization_schemes import ZScoreNormalization
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.plans import NETWORK_CLASS_NAME

_WITHOUT_CHANNEL = (
    "or train without the salient channel (-tr ResUNetDSTrainerNoSalientChannel, or resunet-ds plan -d ID "
    "--no-salient-channel)"
)


def check_background(settings: Mapping[str, Any], plans: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> None:
    """Refuse data whose background would not be 0 in training.

    Args:
        settings: the resolved configuration.
        plans: the plans file it belongs to.
        fingerprint: nnU-Net's dataset_fingerprint.json.

    Raises:
        InputError: a normalisation is not masked, or a case would be resampled, which rings into the background.
    """
    if not has_salient_channel(settings["architecture"]):
        return
    _check_normalization(settings)
    _check_resampling(settings, plans["transpose_forward"], fingerprint)


def has_salient_channel(architecture: Mapping[str, Any]) -> bool:
    """Tell whether a network of plans reads the brain mask off the zero background."""
    is_ours = architecture["network_class_name"] == NETWORK_CLASS_NAME
    return is_ours and bool(architecture["arch_kwargs"].get("salient_channel", True))


def _check_normalization(settings: Mapping[str, Any]) -> None:
    schemes, masked = settings["normalization_schemes"], settings["use_mask_for_norm"]
    for channel, (scheme, is_masked) in enumerate(zip(schemes, masked, strict=True)):
        if scheme != ZScoreNormalization.__name__ or not is_masked:
            msg = (
                f"channel {channel} is normalised by {scheme} with use_mask_for_norm {str(is_masked).lower()}, so the "
                "background does not stay at zero in training, and the salient channel is read from that zero: use "
                "skull-stripped images (then nnU-Net plans ZScoreNormalization with use_mask_for_norm true) "
                + _WITHOUT_CHANNEL
            )
            raise InputError(msg)


def _check_resampling(settings: Mapping[str, Any], transpose: list[int], fingerprint: Mapping[str, Any]) -> None:
    target = settings["spacing"]
    resampled = [
        spacing
        for shape, spacing in zip(fingerprint["shapes_after_crop"], fingerprint["spacings"], strict=True)
        if _new_shape(shape, spacing, target, transpose) != [shape[axis] for axis in transpose]
    ]
    if resampled:
        msg = (
            f"{len(resampled)} of {len(fingerprint['spacings'])} cases would be resampled (for example from spacing "
            f"{resampled[0]} to {list(target)} mm), which blurs the zero background that the salient channel reads: "
            "use 3d_fullres, bring the images to its spacing before conversion, " + _WITHOUT_CHANNEL
        )
        raise InputError(msg)


def _new_shape(shape: list[int], spacing: list[float], target: list[float], transpose: list[int]) -> list[int]:
    """Return the shape that nnU-Net's preprocessing would resample to, in its transposed axis order."""
    new_shape = compute_new_shape([shape[axis] for axis in transpose], [spacing[axis] for axis in transpose], target)
    return [int(axis) for axis in new_shape]
