"""Let the ranks, the processes of a training on several GPUs, decide alike; one process alone is one rank.

Their processors talk to each other, over Gloo: over NCCL, as the network's gradients go, each answer would wait for all
that the GPU has been given before it.
"""

from functools import cache
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed


def is_distributed() -> bool:
    """Tell whether this process belongs to a process group of ranks."""
    return distributed.is_available() and distributed.is_initialized()


def number_of_ranks() -> int:
    """Return how many ranks train together."""
    return distributed.get_world_size() if is_distributed() else 1


def on_any_rank(answer: bool) -> bool:
    """Tell whether the answer is yes on any rank; all ranks must call this together."""
    if not is_distributed():
        return answer
    answers = torch.tensor(int(answer))
    distributed.all_reduce(answers, distributed.ReduceOp.MAX, group=_processors())
    return bool(answers)


def of_all_ranks(steps: NDArray[Any]) -> NDArray[Any]:
    """Return the arrays (steps, …) of all ranks, joined along the first axis; all ranks must call this together."""
    if not is_distributed():
        return steps
    gathered: list[Any] = [None] * number_of_ranks()
    distributed.all_gather_object(gathered, steps, group=_processors())
    return np.concatenate(gathered)


def wait_for_all_ranks() -> None:
    """Wait until every rank is here."""
    if is_distributed():
        distributed.barrier(group=_processors())


def _processors() -> "distributed.ProcessGroup":
    """Return the group of all ranks in which tensors on the CPU are sent; all ranks must call this together."""
    return _group_next_to(distributed.group.WORLD)


@cache
def _group_next_to(_: "distributed.ProcessGroup | None") -> "distributed.ProcessGroup":
    return cast("distributed.ProcessGroup", distributed.new_group(backend="gloo"))
