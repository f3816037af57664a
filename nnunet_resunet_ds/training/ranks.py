"""Let the ranks, the processes of a training on several GPUs, decide alike; one process alone is one rank."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed


def is_distributed() -> bool:
    """Tell whether this process belongs to a process group of ranks."""
    return distributed.is_available() and distributed.is_initialized()


def on_any_rank(answer: bool, device: torch.device) -> bool:
    """Tell whether the answer is yes on any rank; all ranks must call this together."""
    if not is_distributed():
        return answer
    answers = torch.tensor(int(answer), device=device)
    distributed.all_reduce(answers, distributed.ReduceOp.MAX)
    return bool(answers)


def of_all_ranks(steps: NDArray[Any]) -> NDArray[Any]:
    """Return the arrays (steps, …) of all ranks, joined along the first axis; all ranks must call this together."""
    if not is_distributed():
        return steps
    gathered: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(gathered, steps)
    return np.concatenate(gathered)


def wait_for_all_ranks() -> None:
    """Wait until every rank is here."""
    if is_distributed():
        distributed.barrier()
