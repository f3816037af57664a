"""The most floating-point operations a second that this machine reaches: what a network is measured against."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from nnunet_resunet_ds.compute.precision import bf16_is_faster, call_seconds, random_convolution

_DTYPES = {"cpu": (torch.float32, torch.bfloat16), "cuda": (torch.float32, torch.bfloat16, torch.float16)}
_MATMULS = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
_CONVOLUTIONS = {"cpu": ((64, 32), (256, 16)), "cuda": ((64, 128), (128, 64), (256, 64), (512, 32))}
"""Channels and edge of a cube, as at fine and coarse stages of the network."""
_SECONDS = 0.3
"""Of each measurement."""


@dataclass(frozen=True)
class Peak:
    """The best of a sweep in one number format."""

    dtype: str
    flops: float
    """A second; a multiplication with its addition counts two."""
    of: str
    """What reached it."""


def machine_peak(device: torch.device) -> list[Peak]:
    """Return the best of matrix products and 3³ convolutions, for each number format that is worth a look."""
    peaks = []
    for dtype in _DTYPES.get(device.type, (torch.float32,)):
        if device.type == "cpu" and dtype is torch.bfloat16 and not bf16_is_faster():
            continue  # its sweep takes from seconds to half an hour, and finds no peak
        found = [
            (flops / min(call_seconds(run, device, seconds=_SECONDS)), name)
            for name, flops, run in _sweep(dtype, device)
        ]
        best, name = max(found)
        peaks.append(Peak(str(dtype).removeprefix("torch."), best, name))
    return peaks


@torch.inference_mode()
def _sweep(dtype: torch.dtype, device: torch.device) -> Iterator[tuple[str, float, Callable[[], object]]]:
    for n in _MATMULS.get(device.type, _MATMULS["cpu"]):
        a = torch.rand(n, n, dtype=dtype, device=device)
        yield f"matmul {n}", 2.0 * n**3, partial(torch.matmul, a, a)
    for channels, edge in _CONVOLUTIONS.get(device.type, _CONVOLUTIONS["cpu"]):
        flops = 2.0 * channels**2 * 27 * edge**3
        yield f"convolution {channels}, {edge}³", flops, random_convolution(dtype, edge, channels, device)
