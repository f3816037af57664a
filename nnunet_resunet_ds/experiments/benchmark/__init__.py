"""How fast and large each stage is here, beside stock nnU-Net and MONAI on the same data and weights."""
