"""Write ``run.json`` in the folder of a fold: its cases, software and machine, the time of an epoch, its weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json, write_json
from nnunet_resunet_ds.compute.environment import machine, peak_memory_mib, versions

RECORD = "run.json"
CASES = "cases"
"""The training and validation cases of the fold."""
WEIGHTS, VALIDATED, AVERAGED_WEIGHTS = "weights", "validated", "averaged_weights"
"""Digests of the final weights, of the weights that were validated, and of the mean of the last epochs."""


def write_record(
    fold: Path, device: torch.device, seconds: Sequence[float], cases: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Write the record of a training that goes on; keep the most memory of its earlier sessions.

    Args:
        fold: folder of the fold.
        device: trains.
        seconds: time of every epoch until now.
        cases: of training and of validation.
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
        CASES: cases,
    }
    write_json(record, fold / RECORD)


def add_to_record(fold: Path, **entries: str) -> None:
    """Add entries to the record of a fold, such as `WEIGHTS`."""
    write_json({**read_record(fold), **entries}, fold / RECORD)


def read_record(fold: Path) -> dict[str, Any]:
    """Return the record of a fold, empty where there is none that can be read."""
    try:
        record = read_json(fold / RECORD)
    except InputError:
        return {}
    return record if isinstance(record, dict) else {}
