"""Convert BraTS downloads to nnU-Net raw datasets, and label maps back to BraTS submissions."""

from dataset_conversion.cohort import check
from dataset_conversion.conversion import convert
from dataset_conversion.editions import EDITIONS, Edition

__all__ = ["EDITIONS", "Edition", "check", "convert"]
