"""The name by which plans of the comparison name MONAI's networks: ``nnunet_resunet_ds.comparison.monai_networks``."""

from nnunet_resunet_ds.experiments.comparison import monai_networks

__all__ = ["monai_networks"]
