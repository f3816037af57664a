"""Keep the name ``nnunet_resunet_ds.comparison.monai_networks``, by which stored plans name MONAI's networks."""

from nnunet_resunet_ds.experiments.comparison import monai_networks

__all__ = ["monai_networks"]
