"""Describe each system as the ``architecture`` of a plans configuration, for nnU-Net's ``get_network_from_plans``.

``width`` is 1 for the size of the paper; plans with narrower features make every system narrower by the same part.
"""

from collections.abc import Sequence
from typing import Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.plans import NNUNET_FEATURES, fitted_strides

VAE_FILTERS, VAE_LATENT = 32, 256
"""Of the winner of BraTS 2018, which the paper takes as it is (paper section 5)."""
EMBEDDING, UNETR_FEATURES, UNETR_HEADS = 768, 16, 12
"""Of UNETR (paper section 5; the rest is Hatamizadeh et al. 2022)."""
TOKEN = 16
"""Voxels of a token of UNETR along each axis."""

MONAI_NETWORKS = "nnunet_resunet_ds.comparison.monai_networks"
"""As plans name them: `nnunet_resunet_ds.comparison` leads here."""


def unet_architecture(patch_size: Sequence[int], width: float = 1.0) -> dict[str, Any]:
    """Return nnU-Net's plain U-Net."""
    strides = fitted_strides(patch_size, max_stages=len(NNUNET_FEATURES))
    n_stages = len(strides)
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": n_stages,
            "features_per_stage": [scaled(features, width) for features in NNUNET_FEATURES[:n_stages]],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * n_stages,
            "strides": strides,
            "n_conv_per_stage": [2] * n_stages,
            "n_conv_per_stage_decoder": [2] * (n_stages - 1),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def res_unet_vae_architecture(patch_size: Sequence[int], width: float = 1.0) -> dict[str, Any]:
    """Return the residual U-Net with an autoencoder branch."""
    return _of_monai(
        "ResUNetVAE",
        patch_size=list(patch_size),
        init_filters=scaled(VAE_FILTERS, width, multiple=8),  # groups of its group norm
        latent=scaled(VAE_LATENT, width),
    )


def attention_unet_architecture(patch_size: Sequence[int], width: float = 1.0) -> dict[str, Any]:
    """Return the U-Net with attention gates, of the plain U-Net's channels."""
    n_stages = min(len(NNUNET_FEATURES), min(patch_size).bit_length() - 1)  # two voxels at the bottom
    return _of_monai(
        "AttentionUNet", features_per_stage=[scaled(features, width) for features in NNUNET_FEATURES[:n_stages]]
    )


def unetr_architecture(patch_size: Sequence[int], width: float = 1.0) -> dict[str, Any]:
    """Return UNETR.

    Raises:
        InputError: its tokens of 16³ voxels do not tile the patch.
    """
    if any(length % TOKEN for length in patch_size):
        smaller = [max(1, length // TOKEN) * TOKEN for length in patch_size]
        larger = [length + -length % TOKEN for length in patch_size]
        msg = (
            f"UNETR's tokens of {TOKEN}³ voxels do not tile the patch {list(patch_size)}; the nearest that they tile "
            f"are {smaller} and {larger}: resunet-ds plan -d ID --patch-size {' '.join(map(str, larger))}"
        )
        raise InputError(msg)
    return _of_monai(
        "UNETR",
        patch_size=list(patch_size),
        hidden_size=scaled(EMBEDDING, width, multiple=UNETR_HEADS),
        feature_size=scaled(UNETR_FEATURES, width),
        num_heads=UNETR_HEADS,
    )


def _of_monai(name: str, **arch_kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 (what plans can hold)
    return {"network_class_name": f"{MONAI_NETWORKS}.{name}", "arch_kwargs": arch_kwargs, "_kw_requires_import": []}


def scaled(size: int, width: float, multiple: int = 1) -> int:
    """Return a number of channels times ``width``, as the nearest multiple of ``multiple`` that is not 0."""
    return max(1, round(size * width / multiple)) * multiple
