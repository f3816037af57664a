"""Brain-tumour segmentation with a deeply supervised residual U-Net, as an nnU-Net v2 trainer.

This file imports nothing: Python's start-up hook and ``resunet-ds --help`` pass through it.
"""

__version__ = "0.2.0"
