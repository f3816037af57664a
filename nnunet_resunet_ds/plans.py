"""Describe the paper's network as nnU-Net's plans do (decisions D1, D3, D4), from patch size and features."""

from collections.abc import Mapping, Sequence
from typing import Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.setting_checks import check_whole_number

PAPER_FEATURES = (64, 96, 128, 192, 256, 384, 512)
"""Channels of the seven stages: paper section 5 gives depth and ends, Futrega et al. 2021 the rest."""
NNUNET_FEATURES = (32, 64, 128, 256, 320, 320)
"""nnU-Net's own, which the paper starts from: doubled from 32 up to 320, in six stages (paper section 5)."""
WIDE_FEATURES = (64, 128, 256, 512, 512, 512)
"""The paper's 64 to 512 in six stages, doubled as nnU-Net does."""
PAPER_PATCH_SIZE = (128, 128, 128)
PAPER_BATCH_SIZE = 2
"""Paper section 5."""
MAX_HEADS = 3
"""The output and two deep-supervision heads (paper section 4)."""
MAX_STAGES = len(PAPER_FEATURES)
"""So an axis is halved at most six times."""
NETWORK_CLASS_NAME = "nnunet_resunet_ds.network.ResUNetDS"


def fitted_strides(patch_size: Sequence[int], max_stages: int = MAX_STAGES) -> list[list[int]]:
    """Return the stride of each stage: an axis is halved while it is even and at least 4.

    So no axis falls below 2 voxels, and instance norm always has more than one voxel to normalise.

    Args:
        patch_size: voxels of the training patch, per axis.
        max_stages: stages at most, the first one (stride 1) included.
    """
    axes = list(patch_size)
    strides = [[1] * len(axes)]
    while len(strides) < min(max_stages, MAX_STAGES):
        stride = [2 if axis % 2 == 0 and axis >= 4 else 1 for axis in axes]
        if all(step == 1 for step in stride):
            break
        strides.append(stride)
        axes = [axis // step for axis, step in zip(axes, stride, strict=True)]
    return strides


def res_unet_ds_architecture(
    patch_size: Sequence[int],
    features_per_stage: Sequence[int] = PAPER_FEATURES,
    *,
    n_heads: int = MAX_HEADS,
    salient_channel: bool = True,
    residual: bool = True,
) -> dict[str, Any]:
    """Return the ``architecture`` entry of a plans configuration, as nnU-Net's ``get_network_from_plans`` takes it.

    Args:
        patch_size: voxels of the training patch (Z, Y, X).
        features_per_stage: channels of each stage; the patch may fit fewer stages, then the first of these are used.
        n_heads: finest decoder levels with a segmentation head, fewer where there are fewer levels.
        salient_channel: give the network the brain mask as an input channel.
        residual: residual blocks in encoder and decoder.

    Raises:
        InputError: the patch is not 3-D, has an axis below 2 voxels, or fits fewer than two stages.
    """
    if len(patch_size) != 3:
        msg = f"ResUNetDS is a 3-D network; got the {len(patch_size)}-D patch size {list(patch_size)}"
        raise InputError(msg)
    for axis in patch_size:
        check_whole_number("each axis of the patch size", axis, at_least=2)
    for features in features_per_stage:
        check_whole_number("each of the features per stage", features, at_least=1)
    check_whole_number("the number of heads", n_heads, at_least=1)
    strides = fitted_strides(patch_size, max_stages=len(features_per_stage))
    if len(strides) < 2:
        msg = (
            f"patch size {list(patch_size)} with {len(features_per_stage)} features fits one stage, a U-Net needs two: "
            "give at least two features and an axis that is even and at least 4"
        )
        raise InputError(msg)
    return {
        "network_class_name": NETWORK_CLASS_NAME,
        "arch_kwargs": {
            "features_per_stage": list(features_per_stage[: len(strides)]),
            "strides": strides,
            "n_heads": min(n_heads, len(strides) - 1),
            "salient_channel": salient_channel,
            "residual": residual,
        },
        "_kw_requires_import": [],
    }


def has_salient_channel(architecture: Mapping[str, Any]) -> bool:
    """Tell whether the network of an ``architecture`` entry reads the brain mask from the zero background."""
    is_ours = architecture["network_class_name"] == NETWORK_CLASS_NAME
    return is_ours and bool(architecture["arch_kwargs"].get("salient_channel", True))
