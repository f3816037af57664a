"""Describe software, hardware and memory, for the files that record how a result was made."""

import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

from nnunet_resunet_ds import __version__

_CPU_INFO = Path("/proc/cpuinfo")
_STATUS = Path("/proc/self/status")
_NOW, _PEAK = "VmRSS:", "VmHWM:"


def versions() -> dict[str, str]:
    """Return the versions that decide results."""
    return {
        "nnunet-resunet-ds": __version__,
        "nnunetv2": version("nnunetv2"),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or the kind of another device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def machine(device: torch.device) -> str:
    """Return the hardware in words: the GPU where it computes, and the processor."""
    model = _of_processor("model name") or platform.processor() or platform.machine()
    gpu = f"{device_name(device)}, " if device.type == "cuda" else ""
    return f"{gpu}{os.cpu_count()} cores of {model}"


def processor_abilities() -> str:
    """Return a digest of what the processor says that it can do, for example AMX; empty where it cannot be told."""
    flags = _of_processor("flags") or _of_processor("Features")
    return hashlib.sha256(flags.encode()).hexdigest()[:12] if flags else ""


def memory_mib() -> float | None:
    """Return the memory in MiB that this process has; None where it cannot be told."""
    return _of_status(_NOW)


def peak_memory_mib(device: torch.device) -> dict[str, float | None]:
    """Return the most memory in MiB that this process has had, and of the GPU; None where it cannot be told."""
    gpu = round(torch.cuda.max_memory_allocated(device) / 2**20, 1) if device.type == "cuda" else None
    return {"process": _of_status(_PEAK), "gpu": gpu}


def _of_processor(entry: str) -> str:
    """Read an entry of the first core (Linux); empty where there is none."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(entry)), "")


def _of_status(entry: str) -> float | None:
    """Read an entry in MiB (Linux): of this program alone, where getrusage counts what started it, too."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
        return next(round(int(line.split()[1]) / 1024, 1) for line in lines if line.startswith(entry))
    except (OSError, StopIteration):
        return None
