"""Operations of PyTorch that take images in one layout and give them in another."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

LAST = torch.channels_last_3d
KERNEL_VOXELS = 27
"""Of a convolution: what has no more is no image."""


class LayoutCopies(TorchDispatchMode):
    """Lists them in a block."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, operation, types, arguments=(), settings=None):
        result = operation(*arguments, **(settings or {}))
        images = [value for value in tree_leaves((arguments, settings, result)) if is_image(value)]
        if not operation.is_view and len({value.is_contiguous(memory_format=LAST) for value in images}) > 1:
            self.found.append(f"{operation}: " + ", ".join(str((tuple(x.shape), x.stride())) for x in images))
        return result


def is_image(value):
    """Tell whether this is (B, C, Z, Y, X) of several channels."""
    return (
        isinstance(value, torch.Tensor)
        and value.dim() == 5
        and value.shape[1] > 1
        and value.shape[2:].numel() > KERNEL_VOXELS
    )
