"""Choose the number format of a CPU by timing what will run in it: a training step of a network, or a pass of it."""

import copy
import hashlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.base.errors import InputError, first_line
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.switches import WITHOUT_VARIABLE
from nnunet_resunet_ds.compute import AUTO, BF16, FP32
from nnunet_resunet_ds.compute.environment import machine, processor_abilities
from nnunet_resunet_ds.compute.kept_choices import Choice, choices_file, keep_choice, kept_choice, measuring_in_turn
from nnunet_resunet_ds.compute.malloc import freed_memory_kept
from nnunet_resunet_ds.compute.precision import (
    HOPELESS,
    MIN_GAIN,
    autocast,
    autocast_dtype,
    bf16_gradients_are_right,
    bf16_slowdown,
    use_dtype,
)

SAMPLE_VOXELS = 2**19
"""Of the input that is timed, at most where the network takes so few: a training step of the paper's network is then a
sixteenth of the whole one. More than half of these voxels are left, so that a stage after six halvings of each axis
still has the two that instance norm needs."""
MAX_ROUNDS, SECONDS = 5, 5.0
"""Rounds of the two formats after one to warm up, and seconds after which no other round begins."""
_DTYPES = {FP32: None, BF16: torch.bfloat16}
_STEP, _PASS = "training step", "forward pass"

Run = Callable[[], object]
Tell = Callable[[str], object]


@dataclass(frozen=True)
class InputSize:
    """What a network is given."""

    shape: tuple[int, ...]
    """(B, C, Z, Y, X)."""
    strides: Sequence[Sequence[int]] | None
    """Of its stages, (Z, Y, X) each; None for a network that takes inputs of this size alone."""

    def sample(self) -> tuple[int, ...]:
        """Return the shape to time: fewer images and smaller axes, until it has few voxels or cannot shrink."""
        images, channels, *axes = self.shape
        images = min(images, max(1, SAMPLE_VOXELS // math.prod(axes)))
        if self.strides is None:
            return images, channels, *axes
        total = [math.prod(of_axis) for of_axis in zip(*self.strides, strict=True)]
        while math.prod(axes) > SAMPLE_VOXELS and (smaller := _halved(axes, total)):
            axes = smaller
        return images, channels, *axes


def _halved(axes: Sequence[int], total: Sequence[int]) -> list[int] | None:
    """Halve the longest axis, the last of equals, that the network takes halved; None where there is none."""
    for axis in sorted(range(len(axes)), key=lambda number: (axes[number], number), reverse=True):
        if axes[axis] % (2 * total[axis]) == 0:
            return [size // 2 if number == axis else size for number, size in enumerate(axes)]
    return None


def training_dtype(
    precision: str, network: nn.Module, device: torch.device, size: InputSize, tell: Tell = LOG.info
) -> tuple[torch.dtype | None, str]:
    """Return the number format in which to train, None for fp32; and a line that says it, and why.

    Args:
        precision: one of `PRECISIONS`; ``"auto"`` is on a CPU what a training step is faster in, measured once for
            this machine and network and then kept (`nnunet_resunet_ds.compute.kept_choices`).
        network: what is trained, in the form that runs; it stays as it is.
        device: where it is.
        size: of a batch.
        tell: takes a line before half a minute of measuring.

    Raises:
        InputError: as `autocast_dtype`, or fp16 where nnU-Net does not scale the loss.
    """
    dtype, line = _chosen(precision, network, device, _Work(_STEP, training_runs, size), tell)
    if dtype is torch.float16 and device.type != "cuda":
        msg = f"precision fp16 trains on CUDA alone, where nnU-Net scales the loss for it; use auto or fp32 on {device}"
        raise InputError(msg)
    if dtype is torch.bfloat16 and device.type == "cpu" and not bf16_gradients_are_right():
        return None, f"Training in fp32: in bf16 PyTorch {torch.__version__} gets gradients wrong on this CPU."
    return dtype, line


def prediction_dtype(
    precision: str, network: nn.Module, device: torch.device, size: InputSize | None, tell: Tell = LOG.info
) -> tuple[torch.dtype | None, str]:
    """Return the number format in which to predict, None for fp32; and a line that says it, and why.

    Args:
        precision: one of `PRECISIONS`; see `training_dtype`, with a forward pass in place of a step.
        network: what predicts, in the form that runs; it stays as it is.
        device: where it is.
        size: of a tile; None leaves ``"auto"`` in fp32, without a measurement.
        tell: takes a line before some seconds of measuring.

    Raises:
        InputError: as `autocast_dtype`.
    """
    work = _Work(_PASS, prediction_runs, size) if size is not None else None
    return _chosen(precision, network, device, work, tell)


@dataclass(frozen=True)
class _Work:
    name: str
    runs: Callable[[nn.Module, Sequence[int]], Mapping[str, Run]]
    size: InputSize


def _chosen(
    precision: str, network: nn.Module, device: torch.device, work: _Work | None, tell: Tell
) -> tuple[torch.dtype | None, str]:
    dtype = autocast_dtype(precision, device)
    if precision != AUTO or device.type != "cpu" or work is None:
        return dtype, f"Convolutions in {dtype or torch.float32}."
    choice = _kept_or_measured(network, work, tell)
    dtype = _DTYPES[choice.number_format]
    file = choices_file()
    again = f"; to measure again, delete {file}" if file is not None and file.is_file() else ""
    return dtype, f"Convolutions in {dtype or torch.float32}: {choice.why} (measured on {choice.measured}{again})."


def _kept_or_measured(network: nn.Module, work: _Work, tell: Tell) -> Choice:
    shape = work.size.sample()
    asked = {
        "work": work.name,
        "machine": machine(torch.device("cpu")),
        "abilities": processor_abilities(),
        "threads": str(torch.get_num_threads()),
        "versions": f"torch {torch.__version__}, nnunet-resunet-ds {__version__}",
        "left out": os.environ.get(WITHOUT_VARIABLE, ""),
        "network": hashlib.sha256(repr(network).encode()).hexdigest(),  # of all layers with their settings
        "input": "×".join(map(str, shape)),
    }
    if (kept := kept_choice(asked)) is not None:
        return kept
    with measuring_in_turn():
        if (kept := kept_choice(asked)) is not None:  # another process has measured meanwhile
            return kept
        choice = _measured(network, work, shape, tell)
        keep_choice(asked, choice)
    return choice


def _measured(network: nn.Module, work: _Work, shape: Sequence[int], tell: Tell) -> Choice:
    """Time the two formats, unless a small convolution says already that bf16 is hopeless."""
    today = time.strftime("%Y-%m-%d")
    if bf16_slowdown() > HOPELESS:
        return Choice(FP32, f"a small convolution takes {bf16_slowdown():.0f} times as long in bf16", today)
    what = f"a {work.name} of this network, {'×'.join(map(str, shape))}"
    tell(f"Timing {what}, in fp32 and bf16: once for this machine and network.")
    device = torch.device("cpu")
    try:
        with torch.random.fork_rng(devices=()), freed_memory_kept(device):
            seconds = format_seconds(work.runs(network, shape))
    except RuntimeError as error:  # a layer that PyTorch has no bf16 for
        return Choice(FP32, f"{what}, cannot be timed ({first_line(error)})", today)
    best = BF16 if seconds[FP32] >= MIN_GAIN * seconds[BF16] else FP32
    return Choice(best, f"{what}, takes {seconds[FP32]:.3g} s in fp32 and {seconds[BF16]:.3g} s in bf16", today)


def format_seconds(runs: Mapping[str, Run], clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
    """Return the least seconds of a run in each format, measured in turns so that other work hits both.

    Args:
        runs: by format, fp32 first.
        clock: seconds.
    """
    warm_up = {name: _seconds_of(run, clock) for name, run in runs.items()}
    if warm_up[BF16] > HOPELESS * warm_up[FP32]:
        return warm_up
    rounds: list[dict[str, float]] = []
    end = clock() + SECONDS
    while not rounds or (len(rounds) < MAX_ROUNDS and clock() < end):
        rounds.append({name: _seconds_of(run, clock) for name, run in runs.items()})
    return {name: min(of_round[name] for of_round in rounds) for name in runs}


def _seconds_of(run: Run, clock: Callable[[], float]) -> float:
    start = clock()
    run()
    return clock() - start


def training_runs(network: nn.Module, shape: Sequence[int]) -> dict[str, Run]:
    """Return a forward and backward pass under autocast for each format; they leave no trace in the network."""
    copied = copy.deepcopy(network).train()
    images = _images(shape)

    @torch.enable_grad()
    def step(dtype: torch.dtype | None) -> None:
        with autocast(dtype, images.device):
            outputs = copied(images)
        heads = outputs if isinstance(outputs, list | tuple) else [outputs]
        torch.autograd.backward([head.float().square().mean() for head in heads])
        copied.zero_grad(set_to_none=True)

    return {name: partial(step, dtype) for name, dtype in _DTYPES.items()}


def prediction_runs(network: nn.Module, shape: Sequence[int]) -> dict[str, Run]:
    """Return a forward pass for each format, with weights converted as prediction does; the network stays as it is."""
    return {name: _prediction_run(copy.deepcopy(network).eval(), shape, dtype) for name, dtype in _DTYPES.items()}


def _prediction_run(network: nn.Module, shape: Sequence[int], dtype: torch.dtype | None) -> Run:
    images = _images(shape)
    converted = use_dtype(network, dtype)

    @torch.inference_mode()
    def run() -> None:
        with autocast(None if converted else dtype, images.device):
            network(images.to(dtype) if converted and dtype else images)

    return run


def _images(shape: Sequence[int]) -> Tensor:
    return torch.rand(tuple(shape)).to(memory_format=torch.channels_last_3d)
