"""Time forms of one task that take turns, so that other work on the machine hits all of them."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

from nnunet_resunet_ds.compute.environment import memory_mib, peak_memory_mib
from nnunet_resunet_ds.compute.malloc import give_back_freed_memory

_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
"""What Linux takes for: forget the peak of this process."""


@dataclass(frozen=True)
class Form:
    """One way to do a task."""

    name: str
    run: Callable[[], object]


@dataclass
class Timing:
    """What its runs took."""

    seconds: list[float] = field(default_factory=list)
    peak_mib: float | None = None
    """Most memory on top of what there was before a run, of the GPU or, without one, of the process."""

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
    forms: Sequence[Form], rounds: int, device: torch.device, advance: Callable[[str], object] = lambda _: None
) -> dict[str, Timing]:
    """Run each form once to warm up and for its memory, then all of them in turn.

    Args:
        forms: the first one starts each round.
        rounds: that are timed.
        device: that they compute on, which is waited for.
        advance: is called with the name of a form before each run.
    """
    timings = {form.name: Timing() for form in forms}
    for form in forms:
        advance(form.name)
        timings[form.name].peak_mib = _peak_of(form, device)
    for _ in range(rounds):
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
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_of(form: Form, device: torch.device) -> float | None:
    """Run a form and return MiB; None where this system does not tell."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device) / 2**20
        form.run()
        return round(torch.cuda.max_memory_allocated(device) / 2**20 - before, 1)
    give_back_freed_memory()  # or this form would use unseen what another has freed
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


NNUNET, MONAI, OURS = "nnU-Net", "MONAI", "ours"


@dataclass(frozen=True)
class Task:
    """One stage of the work."""

    name: str
    unit: str
    """What a run does one or more of."""
    forms: list[Form]
    """The baseline first."""
    units_per_run: float = 1
    flops: float | None = None
    """Of the network in a run of ours or nnU-Net's, counted."""
    stages: Callable[[], Mapping[str, float]] | None = None
    """Runs ours once and tells seconds of its parts."""
    note: str = ""
