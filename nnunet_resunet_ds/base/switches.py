"""Name the faster ways to compute, and read the variable that switches them off."""

import os

from nnunet_resunet_ds.base.errors import InputError

CHANNELS_LAST = "channels-last"
"""Networks in memory with the channels of a voxel side by side; on a GPU, too."""
INSTANCE_NORM = "instance-norm"
"""On a CPU, block by block: `nnunet_resunet_ds.network.cpu_forms.normalised`."""
AVERAGE_POOLING = "average-pooling"
"""On a CPU, plane by plane: `nnunet_resunet_ds.network.cpu_forms.average_pool`."""
FUSED_KERNELS = "fused-kernels"
"""On a GPU, by Triton: `nnunet_resunet_ds.network.fused`."""
KEPT_MEMORY = "kept-memory"
"""`freed_memory_kept`."""
FAST_PATHS = (CHANNELS_LAST, INSTANCE_NORM, AVERAGE_POOLING, FUSED_KERNELS, KEPT_MEMORY)
"""Other switches: bf16 (``--precision``, the recipe), compiling (``nnUNet_compile``), whole volumes (``--tiles``)."""

WITHOUT_VARIABLE = "RESUNET_DS_WITHOUT"
"""Names of fast paths, parted by spaces or commas, that are not to be taken."""


def is_taken(path: str) -> bool:
    """Tell whether a fast path is to be taken.

    Raises:
        InputError: the variable names a path that there is not.
    """
    left_out = os.environ.get(WITHOUT_VARIABLE, "").replace(",", " ").split()
    unknown = sorted(set(left_out) - set(FAST_PATHS))
    if unknown:
        msg = f"{WITHOUT_VARIABLE}: no fast path {', '.join(unknown)}; there are {', '.join(FAST_PATHS)}"
        raise InputError(msg)
    return path not in left_out
