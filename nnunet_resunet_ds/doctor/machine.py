"""Examine the hardware: GPU, speed, number formats, worker processes and their shared memory."""

import os
import shutil
import statistics
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import nn

from nnunet_resunet_ds.base.parallel import n_cores
from nnunet_resunet_ds.base.regions import REGIONS
from nnunet_resunet_ds.compute import AUTO, BF16, FP16, FP32
from nnunet_resunet_ds.compute.device import chosen_device
from nnunet_resunet_ds.compute.environment import machine
from nnunet_resunet_ds.compute.format_choice import InputSize, prediction_dtype, training_dtype
from nnunet_resunet_ds.compute.precision import autocast, call_seconds, has_bf16, random_convolution
from nnunet_resunet_ds.doctor import FAIL, OK, WARN, Finding
from nnunet_resunet_ds.network import ResUNetDS
from nnunet_resunet_ds.network.forms import plain_only, why_not_fused
from nnunet_resunet_ds.plans import PAPER_BATCH_SIZE, PAPER_PATCH_SIZE, res_unet_ds_architecture

SECONDS = 10.0
"""Duration of the speed measurement."""
TFLOP_PER_TILE = 2.78
"""Of a forward pass of the paper's network over 128³ voxels."""
TILES_PER_CASE = 64
"""Of a BraTS brain: eight tiles, eight flips."""
SLOW_MINUTES = 5
"""A prediction that takes more minutes a case is a warning."""
_FEATURES, _SIZE = 64, {"cpu": 48, "cuda": 128, "mps": 64}
"""Of the convolution that is timed: as at the network's finest stage."""
_CHANNELS = 4
"""Sequences of a BraTS case."""
_WITHOUT_A_GPU = "give -device cpu to nnUNetv2_train and nnUNetv2_predict; our own commands take the CPU by themselves"
GIB = 2**30
WORKER_BYTES = 1.5 * GIB
"""Of one of nnU-Net's workers: Python and torch, and a BraTS case that it preprocesses or augments."""
BATCH_BYTES = 2 * 128**3 * (4 * 4 + 3 * (1 + 1 / 8 + 1 / 64))
"""Of the paper: batch 2 of 128³, four channels in fp32, three regions as bool at three scales."""
CROPS_BYTES = 2 * 135 * 163 * 137 * (4 * 4 + 2)
"""Of the paper where a GPU augments: two crops that reach to the edges of a BraTS brain, with labels in int16."""
_AUGMENTATION = "nnUNet_n_proc_DA"
"""nnU-Net's variable of the processes that load and augment, of which there are never more than cores."""
_DEFAULTS = {"nnUNet_def_n_proc": 8, _AUGMENTATION: 12}
"""nnU-Net's values where a variable is not set."""
_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_SHARED_MEMORY = Path("/dev/shm")


def hardware() -> Iterator[Finding]:
    """Yield a finding for GPU, worker processes and shared memory."""
    yield gpu()
    yield processes()
    yield shared_memory()


def gpu() -> Finding:
    """Return which GPU PyTorch can use."""
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Finding(OK, "GPU", f"{', '.join(names)}, {memory:.0f} GiB")
    if torch.backends.mps.is_available():
        return Finding(OK, "GPU", "Apple's: give -device mps")
    if torch.version.cuda is None:
        remedy = f"if there is a GPU: install PyTorch for it, see pytorch.org; if not: {_WITHOUT_A_GPU}"
        return Finding(WARN, "GPU", "none, and this PyTorch is built without CUDA", remedy)
    text = f"none that PyTorch, built for CUDA {torch.version.cuda}, can use"
    remedy = f"if there is a GPU: check its driver with nvidia-smi; if not: {_WITHOUT_A_GPU}"
    return Finding(WARN, "GPU", text, remedy)


def speed(seconds: float = SECONDS) -> Iterator[Finding]:
    """Yield how fast convolutions are in each number format, and form and format that the paper's network takes.

    On a CPU with bf16 units the latter is half a minute of measuring, once: a training of that network needs it, too.
    """
    device = chosen_device(None)
    formats = {FP32: torch.float32} | ({BF16: torch.bfloat16} if has_bf16(device) else {})
    formats |= {FP16: torch.float16} if device.type == "cuda" else {}
    rates = {name: convolution_rate(dtype, device, seconds / len(formats)) for name, dtype in formats.items()}
    measured = ", ".join(f"{name} {rate:.2f}" for name, rate in rates.items())
    yield Finding(OK, "speed", f"3³ convolutions on {machine(device)}, TFLOP/s: {measured}")
    network, strides = _papers_network(device)
    if device.type == "cuda":
        yield network_form(network, device)
    batch, tile = (InputSize((size, _CHANNELS, *PAPER_PATCH_SIZE), strides) for size in (PAPER_BATCH_SIZE, 1))
    yield Finding(OK, "training", training_dtype(AUTO, network, device, batch)[1])
    dtype, line = prediction_dtype(AUTO, network, device, tile)
    chosen = next(name for name, of in formats.items() if of == (dtype or torch.float32))
    minutes = TFLOP_PER_TILE * TILES_PER_CASE / rates[chosen] / 60
    text = (
        f"{line} At the rate above the paper's network takes about {minutes:.1f} minutes a BraTS case with eight "
        "flips; the starter model takes far less"
    )
    if minutes > SLOW_MINUTES:
        remedy = "predict with --no-tta in an eighth of the time; train on a GPU, or a smaller network: resunet-ds plan"
        yield Finding(WARN, "prediction", text, remedy)
    else:
        yield Finding(OK, "prediction", text)


def network_form(network: nn.Module, device: torch.device) -> Finding:
    """Return the form that a network computes in on a GPU, timed against plain PyTorch.

    Args:
        network: of the paper, on the GPU.
        device: the GPU.
    """
    reason = why_not_fused(device)
    if reason is not None:
        remedy = "the results are right, and slower; with another PyTorch or a C compiler the kernels may run"
        return Finding(WARN, "network", f"plain PyTorch on this GPU, no fused kernels: {reason}", remedy)
    tile = torch.rand((1, _CHANNELS, *PAPER_PATCH_SIZE), device=device)

    def run(context: Callable[[], AbstractContextManager[object]]) -> Callable[[], object]:
        def forward() -> None:
            with context(), autocast(torch.float16, device):
                network(tile)

        return forward

    fused, plain = (min(call_seconds(run(context), device)) for context in (nullcontext, plain_only))
    return Finding(OK, "network", f"fused kernels, {plain / fused:.1f} times as fast as plain PyTorch on this GPU")


def _papers_network(device: torch.device) -> tuple[nn.Module, list[list[int]]]:
    """Return the paper's network in the form that runs, and the strides of its stages."""
    arch_kwargs = res_unet_ds_architecture(PAPER_PATCH_SIZE)["arch_kwargs"]
    network = ResUNetDS(_CHANNELS, len(REGIONS), **arch_kwargs).to(device)
    return network, arch_kwargs["strides"]


def convolution_rate(dtype: torch.dtype, device: torch.device, seconds: float) -> float:
    """Return the median TFLOP/s of a 3³ convolution of 64 channels, run repeatedly for some seconds."""
    size = _SIZE[device.type]
    convolution = random_convolution(dtype, size, _FEATURES, device)
    median = statistics.median(call_seconds(convolution, device, repeats=1, seconds=seconds))
    return 2 * 27 * _FEATURES**2 * size**3 / median / 1e12


def processes() -> Finding:
    """Check that cores and memory are enough for nnU-Net's worker processes."""
    configured = {name: configured_workers(name) for name in _DEFAULTS}
    bad = [name for name, number in configured.items() if number is None]
    if bad:
        return Finding(FAIL, "processes", f"{bad[0]} is {os.environ[bad[0]]!r}", f"export {bad[0]}=2")
    cores, memory = n_cores(), memory_bytes()
    most = max(1, min(cores, int(memory / WORKER_BYTES)))
    text = ", ".join(f"{name} {_said(name, number)}" for name, number in configured.items())
    text = f"{text}; {cores} cores and {memory / GIB:.0f} GiB are enough for {most}"
    if any(number > most for number in configured.values() if number):
        remedy = f"export nnUNet_def_n_proc={most} nnUNet_n_proc_DA={max(1, most - 1)}"
        return Finding(WARN, "processes", text, remedy)
    return Finding(OK, "processes", text)


def shared_memory() -> Finding:
    """Check that the batches between worker processes and training fit into shared memory."""
    if not _SHARED_MEMORY.is_dir():
        return Finding(OK, "shared memory", "this system has none")
    n_workers = configured_workers(_AUGMENTATION) or 0
    needed, free = queue_bytes(n_workers), shutil.disk_usage(_SHARED_MEMORY).free
    text = f"{free / GIB:.1f} GiB free, batches of {n_workers} workers take up to {needed / GIB:.1f}"
    if free < needed:
        remedy = "in a container: docker run --shm-size=8g, or --ipc=host; or export nnUNet_n_proc_DA=0"
        return Finding(FAIL, "shared memory", text, remedy)
    return Finding(OK, "shared memory", text)


def queue_bytes(n_workers: int) -> float:
    """Return the most bytes that batches in nnU-Net's queues take: those that wait and those that are being made."""
    if n_workers == 0:
        return 0
    for_training = max(6, n_workers // 2) + n_workers
    for_validation = max(3, n_workers // 4) + max(1, n_workers // 2)
    return (CROPS_BYTES if torch.cuda.is_available() else BATCH_BYTES) * for_training + BATCH_BYTES * for_validation


def memory_bytes() -> float:
    """Return the bytes of memory of this machine, or of this container."""
    limits = [_limit(Path(path)) for path in _MEMORY_LIMITS]
    return min([_total_memory(), *(limit for limit in limits if limit)])


def _limit(path: Path) -> float | None:
    try:
        return float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such file, or the word max
        return None


def _total_memory() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def configured_workers(name: str) -> int | None:
    """Return how many workers nnU-Net starts by one of its variables; None where its value is no number."""
    try:
        number = int(os.environ.get(name, _DEFAULTS[name]))
    except ValueError:
        return None
    return min(number, os.cpu_count() or 1) if name == _AUGMENTATION else number


def _said(name: str, number: int | None) -> str:
    return str(number) if name in os.environ else f"not set ({number})"
