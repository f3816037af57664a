"""Provide `ResUNetDS` under the name that plans have for it, and the fast forms of its blocks."""

from nnunet_resunet_ds.network.res_unet_ds import ResUNetDS, salient_voxels

__all__ = ["ResUNetDS", "salient_voxels"]
