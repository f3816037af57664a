"""Augment training batches on the device with nnU-Net's own transforms. PyTorch is not imported here."""

BY_DEVICE, DEVICE, WORKERS = AUGMENTATIONS = ("auto", "device", "workers")
"""Where training batches are augmented, by the values of ``--augmentation``; ``auto`` is the device on CUDA."""
