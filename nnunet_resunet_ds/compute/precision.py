"""Compute in a number format, and probe what this processor's bf16 is worth: its speed and its gradients."""

import functools
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.setting_checks import check_choice
from nnunet_resunet_ds.compute import AUTO, BF16, FP16, FP32, PRECISIONS

COMPILE_VARIABLE = "nnUNet_compile"
"""nnU-Net's."""
MIN_GAIN = 1.2
"""bf16 is worth its rounding on a CPU that is at least this much faster in it than in fp32."""
_DTYPES = {FP32: None, BF16: torch.bfloat16, FP16: torch.float16}
_CONVOLUTIONS = (nn.Conv3d, nn.ConvTranspose3d)
HOPELESS = 3
"""If something takes so many times as long in bf16, nothing larger is timed."""
_PROBE_FEATURES, _PROBE_SIZE, _SMALL_SIZES, _PROBE_REPEATS = 64, 24, (10, 16), 5
_LEAST_SECONDS = 0.01
"""Of one measurement: a single call of some microseconds would measure how a GPU is given work."""
_CPU = torch.device("cpu")
_DEEP_SIZES, _DEEP_FEATURES = (2, 4, 8), 16
"""Axes of the deepest levels of the paper's network."""
MAX_GRADIENT_ERROR = 0.05
"""Of the largest weight gradient; rounding to bf16 makes it 0.005."""


def compile_is_wished() -> bool:
    """Tell whether the user asks for compiled networks."""
    return os.environ.get(COMPILE_VARIABLE, "").lower() in ("true", "1", "t")


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the number format of convolutions under autocast; None is fp32, without autocast.

    Args:
        precision: one of `PRECISIONS`; ``"auto"`` is fp16 on a GPU, as in nnU-Net, and fp32 elsewhere: for a CPU,
            `nnunet_resunet_ds.compute.format_choice` measures.
        device: where the network is.

    Raises:
        InputError: not one of `PRECISIONS`, or fp16 on a CPU.
    """
    check_choice("precision", precision, PRECISIONS)
    if precision == AUTO:
        precision = FP16 if device.type == "cuda" else FP32
    if precision == FP16 and device.type == "cpu":
        msg = "precision fp16 needs a GPU; use auto, bf16 or fp32 on the CPU"
        raise InputError(msg)
    return _DTYPES[precision]


def autocast(dtype: torch.dtype | None, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which to run the network."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def use_dtype(network: nn.Module, dtype: torch.dtype | None) -> bool:
    """Convert the convolutions of a network in place, for prediction; tell whether that was done.

    It is faster than autocast, which converts weights and tensors in each forward pass. Norms keep fp32
    parameters. A network of other parts stays as it is, for autocast. Whether all layers can compute so, the first
    inputs show.
    """
    with_weights = [module for module in network.modules() if list(module.parameters(recurse=False))]
    if dtype is None or not all(isinstance(module, (*_CONVOLUTIONS, nn.InstanceNorm3d)) for module in with_weights):
        return False
    for module in network.modules():
        if isinstance(module, _CONVOLUTIONS):
            module.to(dtype)
    return True


@functools.cache
def bf16_slowdown() -> float:
    """Return how many times as long as in fp32 a small convolution takes in bf16 on this CPU.

    Processors without such units emulate bf16. Without AVX-512, the larger a convolution is, the worse: from some ten
    to more than a hundred times, and a whole network would take hours. So the smallest comes first, and a larger one is
    timed only where that is not hopeless: a second, once a process.
    """
    for size in _SMALL_SIZES:
        slowdown = convolution_seconds(torch.bfloat16, size) / convolution_seconds(torch.float32, size)
        if slowdown > HOPELESS:
            break
    return slowdown


@functools.cache
def bf16_is_faster() -> bool:
    """Tell whether this CPU convolves in bf16 at least `MIN_GAIN` times as fast as in fp32: a tenth of a second.

    It says what the processor can do at most. Whether a network gains is for `nnunet_resunet_ds.compute.format_choice`.
    """
    if bf16_slowdown() > HOPELESS:
        return False
    return convolution_seconds(torch.float32) >= MIN_GAIN * convolution_seconds(torch.bfloat16)


def has_bf16(device: torch.device) -> bool:
    """Tell whether a device convolves in bf16 at all; GPUs before Ampere emulate the format, and cuDNN refuses it."""
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


@functools.cache
def bf16_gradients_are_right() -> bool:
    """Tell whether weight gradients of small convolutions in bf16 on this CPU are those in fp32, up to rounding.

    With PyTorch 2.14 (oneDNN 3.12) on processors that have AVX-512 BF16 and no AMX they are arbitrary numbers where the
    first axis has two voxels and the batch at least two images: the deepest level of the paper's network.
    """
    return all(bf16_gradient_error(size) < MAX_GRADIENT_ERROR for size in _DEEP_SIZES)


def bf16_gradient_error(size: int) -> float:
    """Return how far weight gradients of two images of size³ are off in bf16, by the largest in fp32; may be NaN."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, _DEEP_FEATURES, *[size] * 3, generator=generator)
    weight = torch.randn(_DEEP_FEATURES, _DEEP_FEATURES, 3, 3, 3, generator=generator)
    direction = torch.randn(x.shape, generator=generator)
    exact, rounded = (_weight_gradient(x, weight, direction, dtype) for dtype in (torch.float32, torch.bfloat16))
    return float((rounded - exact).abs().max() / exact.abs().max())


@torch.enable_grad()
def _weight_gradient(x: Tensor, weight: Tensor, direction: Tensor, dtype: torch.dtype) -> Tensor:
    weight = weight.to(dtype).requires_grad_()
    y = F.conv3d(x.to(dtype), weight, padding=1)
    (gradient,) = torch.autograd.grad(y, weight, direction.to(dtype))
    return gradient.float()


def convolution_seconds(dtype: torch.dtype, size: int = _PROBE_SIZE) -> float:
    """Return the least time of a 3³ convolution of size³ voxels on this CPU."""
    return min(call_seconds(random_convolution(dtype, size, _PROBE_FEATURES, _CPU), _CPU))


def random_convolution(dtype: torch.dtype, size: int, channels: int, device: torch.device) -> Callable[[], Tensor]:
    """Return a call of a 3³ convolution of random images (1, channels, size, size, size), channels last."""
    shapes = (1, channels, *[size] * 3), (channels, channels, 3, 3, 3)
    images, weight = (
        torch.rand(shape, dtype=dtype, device=device).to(memory_format=torch.channels_last_3d) for shape in shapes
    )
    return partial(F.conv3d, images, weight, padding=1)


@torch.inference_mode()
def call_seconds(
    run: Callable[[], object], device: torch.device, *, repeats: int = _PROBE_REPEATS, seconds: float = 0.0
) -> list[float]:
    """Return the time of one call, measured again and again, each time over as many calls as take 10 ms.

    Args:
        run: is called; on a GPU it may return before it is done.
        device: where it computes.
        repeats: measurements at least.
        seconds: to go on measuring at least.
    """
    taken: list[float] = []
    n_calls = 1
    end = time.perf_counter() + seconds
    while len(taken) < repeats or time.perf_counter() < end:
        taken.append(_seconds_of_calls(run, n_calls, device) / n_calls)
        n_calls = max(1, int(_LEAST_SECONDS / max(taken[-1], 1e-6)))
    return taken


def _seconds_of_calls(run: Callable[[], object], n_calls: int, device: torch.device) -> float:
    start = time.perf_counter()
    for _ in range(n_calls):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
