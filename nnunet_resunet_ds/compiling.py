"""What nnU-Net's variable ``nnUNet_compile`` says about torch.compile."""

import os

COMPILE_VARIABLE = "nnUNet_compile"


def compile_is_wished() -> bool:
    """Tell whether the user asks for compiled networks."""
    return os.environ.get(COMPILE_VARIABLE, "").lower() in ("true", "1", "t")
