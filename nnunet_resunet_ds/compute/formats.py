"""Name the number formats in which networks compute, as ``--precision`` does; without PyTorch."""

AUTO, FP32, BF16, FP16 = PRECISIONS = ("auto", "fp32", "bf16", "fp16")
"""``auto``: as `nnunet_resunet_ds.compute.precision` chooses."""
