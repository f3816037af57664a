"""Keep freed memory in the process: to return it and get it again can take half of the time of a network on a CPU."""

import ctypes
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nnunet_resunet_ds.base.switches import KEPT_MEMORY, is_taken

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""What glibc's malloc.h calls M_TRIM_THRESHOLD, M_MMAP_THRESHOLD and M_MMAP_MAX."""
_NEVER = -1
_USUAL = {_TRIM_THRESHOLD: 128 * 1024, _MMAP_THRESHOLD: 32 * 2**20, _MMAP_MAX: 65536}
"""glibc's own, but for the threshold of mmap, which it lets grow to this."""

_LOCK = threading.Lock()
_BLOCKS: list[ctypes.CDLL] = []
"""One for each block of `freed_memory_kept` that has begun and not ended: the last one that ends sets all back."""


@contextmanager
def freed_memory_kept(device: torch.device) -> Iterator[None]:
    """Let the C library keep freed memory while a network computes on a CPU, and give it back at the end.

    Without this, glibc returns each large tensor to the system when it is freed, and gets the next one from there in
    pages of 4 KiB that are cleared one by one: half of the time of a full-size forward pass on some machines
    (docs/understand/performance.md). The price is memory that lies in pieces. Other C libraries and devices are left
    alone. Such blocks may lie in each other.
    """
    library = _glibc() if device.type == "cpu" and is_taken(KEPT_MEMORY) else None
    if library is None:
        yield
        return
    _enter(library)
    try:
        yield
    finally:
        _leave(library)


def _enter(library: ctypes.CDLL) -> None:
    with _LOCK:
        if not _BLOCKS:
            library.mallopt(_MMAP_MAX, 0)
            library.mallopt(_TRIM_THRESHOLD, _NEVER)
        _BLOCKS.append(library)


def _leave(library: ctypes.CDLL) -> None:
    with _LOCK:
        _BLOCKS.remove(library)
        if not _BLOCKS:
            for setting, value in _USUAL.items():
                library.mallopt(setting, value)
    give_back_freed_memory()


def give_back_freed_memory() -> None:
    """Let the C library return freed memory to the system."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
