"""``run.json`` in the folder of a fold: with what it is trained, how long an epoch takes, and how much memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunet_resunet_ds.environment import machine, peak_memory_mib, versions
from nnunet_resunet_ds.errors import InputError
from nnunet_resunet_ds.files import read_json, write_json

RECORD = "run.json"


def write_record(fold: Path, device: torch.device, seconds: Sequence[float]) -> None:
    """Write the record; the most memory of earlier sessions of the same training stays.

    Args:
        fold: folder of the fold.
        device: that trains.
        seconds: of every epoch until now.
    """
    earlier = read_record(fold).get("peak_memory_mib") if seconds else None
    memory = peak_memory_mib(device)
    if isinstance(earlier, Mapping):
        memory = {key: max(filter(None, (value, earlier.get(key))), default=None) for key, value in memory.items()}
    record = {
        "versions": versions(),
        "machine": machine(device),
        "epochs": len(seconds),
        "seconds_per_epoch": round(float(np.median(seconds)), 2) if len(seconds) else None,
        "peak_memory_mib": memory,
    }
    write_json(record, fold / RECORD)


def read_record(fold: Path) -> dict[str, Any]:
    """Return the record of a fold, empty where there is none that can be read."""
    try:
        record = read_json(fold / RECORD)
    except InputError:
        return {}
    return record if isinstance(record, dict) else {}
