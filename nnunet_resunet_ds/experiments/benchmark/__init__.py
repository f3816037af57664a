"""Measure how fast each stage is on this machine, against stock nnU-Net and MONAI on the same data."""
