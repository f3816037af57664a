"""What is measured: forms of one task, and what one run of them amounts to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nnunet_resunet_ds.benchmark.turns import Form

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
