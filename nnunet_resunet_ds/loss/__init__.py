"""Provide the loss of training: batch Dice and focal loss over regions, by PyTorch or by fused kernels on a GPU."""

from nnunet_resunet_ds.loss.region_loss import RegionDiceFocalLoss

__all__ = ["RegionDiceFocalLoss"]
