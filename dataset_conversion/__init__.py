"""From a BraTS download to an nnU-Net raw dataset."""

from dataset_conversion.conversion import convert
from dataset_conversion.editions import EDITIONS, Edition

__all__ = ["EDITIONS", "Edition", "convert"]
