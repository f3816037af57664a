"""What trainer, prediction and doctor share: number formats, kept memory, environment. PyTorch is not imported here."""

AUTO, FP32, BF16, FP16 = PRECISIONS = ("auto", "fp32", "bf16", "fp16")
"""By the names of the flag ``--precision``; `nnunet_resunet_ds.compute.format_choice` finds what ``auto`` is."""
