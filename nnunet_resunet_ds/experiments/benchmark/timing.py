"""Time the forms of a task in turn, and find the most operations a second that this machine reaches."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from nnunet_resunet_ds.compute.environment import memory_mib, peak_memory_mib
from nnunet_resunet_ds.compute.malloc import give_back_freed_memory
from nnunet_resunet_ds.compute.precision import bf16_is_faster, call_seconds, has_bf16, random_convolution

STOCK, MONAI, OURS = "nnU-Net", "MONAI", "ours"
"""Names of forms."""
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""Linux' code for: forget the peak memory of this process."""
_DTYPES = {"cpu": (torch.float32, torch.bfloat16), "cuda": (torch.float32, torch.bfloat16, torch.float16)}
_MATMULS = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
"""Edges of square matrices."""
_CONVOLUTIONS = {"cpu": ((64, 32), (256, 16)), "cuda": ((64, 128), (128, 64), (256, 64), (512, 32))}
"""Channels and edge of a cube, as at fine and coarse stages of the network."""
_PEAK_SECONDS = 0.3
"""Of each measurement of the peak."""


@dataclass(frozen=True)
class Form:
    """One way to do a task."""

    name: str
    run: Callable[[], object]


@dataclass(frozen=True)
class Task:
    """One stage of the work."""

    name: str
    unit: str
    """What is counted: a run does `units_per_run` of it."""
    forms: list[Form]
    """The baseline first."""
    units_per_run: float = 1
    flops: float | None = None
    """Operations of the network in a run of ours or nnU-Net's, counted."""
    stages: Callable[[], Mapping[str, float]] | None = None
    """Runs ours once, and returns the seconds of its parts."""
    note: str = ""


@dataclass
class Timing:
    """Seconds of the runs of a form, and its memory."""

    seconds: list[float] = field(default_factory=list)
    peak_mib: float | None = None
    """Most memory during a run minus that before it: of the GPU or, without one, of the process."""

    @property
    def median(self) -> float:
        """Return the median of the seconds."""
        return statistics.median(self.seconds)


class Ratio(NamedTuple):
    """How many times as fast as another form, in rounds of the two."""

    median: float
    least: float
    most: float


def ratio(baseline: Timing, own: Timing) -> Ratio:
    """Return by how much a form is faster than the baseline, round by round."""
    ratios = [one / other for one, other in zip(baseline.seconds, own.seconds, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def take_turns(
    forms: Sequence[Form],
    rounds: int,
    device: torch.device,
    advance: Callable[[str], object] = lambda _: None,
    *,
    seconds: float = math.inf,
) -> dict[str, Timing]:
    """Run each form once to warm up and to measure its memory, then all of them in turn.

    Args:
        forms: the first one starts each round.
        rounds: that are timed, at most.
        device: that they compute on.
        advance: called with the name of a form before each run.
        seconds: after which no other round begins; there is always one.
    """
    timings = {form.name: Timing() for form in forms}
    for form in forms:
        advance(form.name)
        timings[form.name].peak_mib = _peak_of(form, device)
    end = time.perf_counter() + seconds
    for number in range(rounds):
        if number and time.perf_counter() > end:
            break
        for form in forms:
            advance(form.name)
            timings[form.name].seconds.append(_seconds_of(form, device))
    return timings


def _seconds_of(form: Form, device: torch.device) -> float:
    synchronize(device)
    start = time.perf_counter()
    form.run()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has ended its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_of(form: Form, device: torch.device) -> float | None:
    """Run a form and return the MiB that it needs; None where this system cannot tell.

    On a GPU the first run only warms up: there cuDNN and torch.compile try what they will take.
    """
    gc.collect()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device) / 2**20
        form.run()
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        form.run()
        return round(torch.cuda.max_memory_allocated(device) / 2**20 - before, 1)
    give_back_freed_memory()  # or this form would use memory that another has freed, and it would not be seen
    resettable = _reset_peak()
    before_run = memory_mib()
    form.run()
    peak = peak_memory_mib(device)["process"]
    if not resettable or before_run is None or peak is None:
        return None
    return round(peak - before_run, 1)


def _reset_peak() -> bool:
    try:
        _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Peak:
    """The best result of a sweep in one number format."""

    dtype: str
    flops: float
    """Operations a second; a multiplication with its addition counts two."""
    of: str
    """The operation that reached it."""


def machine_peak(device: torch.device) -> list[Peak]:
    """Return the best of matrix products and 3³ convolutions, for each number format that this device is made for."""
    peaks = []
    for dtype in _DTYPES.get(device.type, (torch.float32,)):
        if dtype is torch.bfloat16 and not (bf16_is_faster() if device.type == "cpu" else has_bf16(device)):
            continue  # its sweep takes from seconds to half an hour, and finds no peak
        found = [
            (flops / min(call_seconds(run, device, seconds=_PEAK_SECONDS)), name)
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
