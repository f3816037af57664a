"""Bring values to a device and results back, and say how far a GPU is, without making it wait."""

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress

import torch
from torch import Tensor

MAX_AHEAD = 2
"""Tiles that a GPU has been given and not finished: enough that it never waits for the next."""
Advance = Callable[[int], object]
"""Called with the number of forward passes of one input that are done."""


def current(device: torch.device) -> AbstractContextManager[object]:
    """Make a GPU the one on which kernels are started in a block; Triton starts them there, wherever tensors lie."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def ready_to_send(volume: Tensor, device: torch.device) -> Tensor:
    """Return a volume in memory that a GPU reads by itself, where that can be had; for other devices as it is."""
    if device.type == "cuda":
        with suppress(RuntimeError):  # such memory may be limited
            return volume.pin_memory()
    return volume


def to_host_later(values: Tensor) -> Callable[[], Tensor]:
    """Begin to bring values to the memory of the processor, and return what waits for them and returns them.

    A GPU copies them as soon as they are computed. What it is given after this call is not waited for.
    """
    if values.device.type != "cuda":
        return values.cpu
    try:
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    except RuntimeError:  # such memory may be limited
        return values.cpu
    host.copy_(values, non_blocking=True)
    copied = _event_after_now(values.device)

    def wait() -> Tensor:
        copied.synchronize()
        return host

    return wait


def to_host(values: Tensor) -> Tensor:
    """Return values in the memory of the processor, when they are computed."""
    return to_host_later(values)()


def _event_after_now(device: torch.device) -> torch.cuda.Event:
    """Return an event after all that a GPU has been given; who waits for it keeps no core busy."""
    event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


class Progress:
    """Says how many forward passes are done: at once on a CPU; on a GPU, which computes later, when they are.

    Args:
        advance: called with the number of passes.
        device: that computes.
    """

    def __init__(self, advance: Advance, device: torch.device) -> None:
        self._advance = advance
        self._device = device
        self._given: deque[tuple[torch.cuda.Event, int]] = deque()

    def given(self, n_passes: int) -> None:
        """Note that the passes of a tile were given to the device."""
        if self._device.type != "cuda":
            self._advance(n_passes)
            return
        self._given.append((_event_after_now(self._device), n_passes))
        self._await(MAX_AHEAD)

    def finish(self) -> None:
        """Wait for all that was given."""
        self._await(0)

    def _await(self, at_most: int) -> None:
        while len(self._given) > at_most:
            event, n_passes = self._given.popleft()
            event.synchronize()
            self._advance(n_passes)
