"""What computes here, how fast, and in which number format."""

import time
from collections.abc import Iterator

import torch
from torch import nn

from nnunet_resunet_ds.compute.environment import machine
from nnunet_resunet_ds.compute.precision import autocast_dtype, training_dtype
from nnunet_resunet_ds.doctor.finding import OK, WARN, Finding
from nnunet_resunet_ds.inference.predictor import chosen_device
from nnunet_resunet_ds.training.recipe import AUTO, BF16, FP16, FP32

SECONDS = 10.0
"""That the speed reading takes."""
TFLOP_PER_TILE = 2.78
"""Of a forward pass of the paper's network over 128³ voxels (decision D2)."""
TILES_PER_CASE = 64
"""Of a BraTS brain: eight tiles, eight flips."""
PATIENCE = 5
"""Minutes a case from which there is something to be said."""
_FEATURES, _SIZE = 64, {"cpu": 48, "cuda": 128, "mps": 64}
"""Of the convolution that is timed: as at the network's finest stage."""


def gpu() -> Finding:
    """Return what GPU PyTorch sees."""
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Finding(OK, "GPU", f"{', '.join(names)}, {memory:.0f} GiB")
    if torch.backends.mps.is_available():
        return Finding(OK, "GPU", "Apple's: give -device mps")
    if torch.version.cuda is None:
        remedy = "where there is one: install PyTorch for it, see pytorch.org; else give -device cpu"
        return Finding(WARN, "GPU", "none, and this PyTorch is built without CUDA", remedy)
    text = f"none that PyTorch, built for CUDA {torch.version.cuda}, can use"
    remedy = "where there is one: look whether nvidia-smi sees it and its driver is new enough; else give -device cpu"
    return Finding(WARN, "GPU", text, remedy)


def speed(seconds: float = SECONDS) -> Iterator[Finding]:
    """Yield how fast the network's main operation is in each number format, and which one ``auto`` takes."""
    device = chosen_device(None)
    formats = {FP32: torch.float32, BF16: torch.bfloat16} | ({FP16: torch.float16} if device.type == "cuda" else {})
    rates = {name: convolution_rate(dtype, device, seconds / len(formats)) for name, dtype in formats.items()}
    wanted = autocast_dtype(AUTO, device) or torch.float32
    chosen = next(name for name, dtype in formats.items() if dtype == wanted)
    measured = ", ".join(f"{name} {rate:.2f}" for name, rate in rates.items())
    minutes = TFLOP_PER_TILE * TILES_PER_CASE / rates[chosen] / 60
    yield Finding(OK, "speed", f"3³ convolutions on {machine(device)}, TFLOP/s: {measured}; auto takes {chosen}")
    yield Finding(OK, "training", training_dtype(AUTO, device)[1])
    text = f"at that rate the paper's network takes about {minutes:.1f} minutes a BraTS case, with eight flips"
    if minutes > PATIENCE:
        remedy = "predict with --no-tta in an eighth of it; train on a GPU, or a smaller network: resunet-ds plan"
        yield Finding(WARN, "prediction", text, remedy)
    else:
        yield Finding(OK, "prediction", text)


@torch.inference_mode()
def convolution_rate(dtype: torch.dtype, device: torch.device, seconds: float) -> float:
    """Return the median TFLOP/s of a 3³ convolution of 64 channels, run again and again for some seconds."""
    size = _SIZE[device.type]
    convolution = nn.Conv3d(_FEATURES, _FEATURES, 3, padding=1, dtype=dtype, device=device)
    convolution.to(memory_format=torch.channels_last_3d)
    x = torch.zeros((1, _FEATURES, *[size] * 3), dtype=dtype, device=device).to(memory_format=torch.channels_last_3d)
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while not taken or time.perf_counter() < end:
        start = time.perf_counter()
        convolution(x)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - start)
    median = sorted(taken)[len(taken) // 2]
    return 2 * 27 * _FEATURES**2 * size**3 / median / 1e12
