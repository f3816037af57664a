"""`ResUNetDS`, by the name that stands in plans, and the forms in which its blocks compute."""

from nnunet_resunet_ds.network.res_unet_ds import ResUNetDS, salient_voxels

__all__ = ["ResUNetDS", "salient_voxels"]
