"""What nnU-Net's variable ``nnUNet_compile`` says about torch.compile."""

import os

COMPILE_VARIABLE = "nnUNet_compile"


def compile_wish() -> bool | None:
    """Return whether the user wants networks compiled; None where nothing is said."""
    value = os.environ.get(COMPILE_VARIABLE, "").lower()
    return True if value in ("true", "1", "t") else False if value in ("false", "0", "f") else None
