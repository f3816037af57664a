"""From a BraTS download to an nnU-Net raw dataset."""

from dataset_conversion.cohort import check
from dataset_conversion.conversion import convert
from dataset_conversion.edition import Edition
from dataset_conversion.editions import EDITIONS

__all__ = ["EDITIONS", "Edition", "check", "convert"]
