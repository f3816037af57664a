"""Compare an ONNX file in onnxruntime with the same network in PyTorch, both on the CPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.export.onnx_graph import INPUT
from nnunet_resunet_ds.network.res_unet_ds import SALIENT_ABOVE

MAX_DIFFERENCE = 1e-3
"""Of a probability; more is another network."""
_MOST_SD = 3.0
"""Of the structured image, in standard deviations, as images are z-scored."""

Patches = NDArray[np.float32]
"""(B, C, Z, Y, X)."""


def check_parity(path: Path, network: nn.Module, input_shape: Sequence[int], name: str) -> float:
    """Return the largest difference of a probability, over a structured and a random patch, in batches of 1 and 2.

    Args:
        path: of the ONNX file.
        network: that it was made of, on the CPU in fp32.
        input_shape: (C, Z, Y, X) of a patch.
        name: that the file is to have, for the message.

    Raises:
        InputError: it is `MAX_DIFFERENCE` or more.
    """
    patches = np.stack([structured_patch(input_shape), random_patch(input_shape)])
    expected = np.concatenate([_in_pytorch(network, patch[None]) for patch in patches])
    session = _session(path)
    differences = []
    for batch_size in (1, 2):
        found = _in_onnxruntime(session, patches[:batch_size])
        differences.append(float(np.abs(found - expected[:batch_size]).max()))
    worst = max(differences) if np.isfinite(differences).all() else float("nan")
    if not worst < MAX_DIFFERENCE:  # nor NaN
        msg = (
            f"{name}: its probabilities differ from PyTorch's by {worst:.2g}, and {MAX_DIFFERENCE:g} is allowed, so "
            "nothing is written; update onnxruntime, onnx and torch, or predict with resunet-ds predict"
        )
        raise InputError(msg)
    return worst


def structured_patch(shape: Sequence[int]) -> Patches:
    """Return (C, Z, Y, X) with what an image has: exact zeros around a ball, ramps, an edge, and faint voxels.

    The faint voxels lie on both sides of the value from which the network takes a voxel for brain (decision D4).
    """
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in shape[1:]], indexing="ij", sparse=True)
    radius = np.sqrt(z**2 + y**2 + x**2)
    ramps = [_MOST_SD * axis + 0 * radius for axis in (z, y, x)]
    channels = np.stack([ramps[number % 3] + (radius < 0.3 + 0.1 * number) for number in range(shape[0])])
    shell = (radius > 0.8) & (radius < 1)
    channels[:, shell] = np.where(x + 0 * radius > 0, 1.1, 0.9)[shell] * SALIENT_ABOVE
    channels[:, radius >= 1] = 0
    return channels.astype(np.float32)


def random_patch(shape: Sequence[int]) -> Patches:
    """Return (C, Z, Y, X) of normally distributed numbers, the same each time."""
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def _in_pytorch(network: nn.Module, patches: Patches) -> Patches:
    with torch.inference_mode():
        probabilities: Patches = network(torch.from_numpy(patches)).float().sigmoid().numpy()
    return probabilities


def _session(path: Path) -> Any:  # noqa: ANN401 (onnxruntime has no types)
    import onnxruntime  # noqa: PLC0415 (of the extra)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.enable_cpu_mem_arena = False  # it would keep what the largest layer took
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _in_onnxruntime(session: Any, patches: Patches) -> Patches:  # noqa: ANN401
    (logits,) = session.run(None, {INPUT: patches})
    probabilities: Patches = torch.from_numpy(logits).sigmoid().numpy()
    return probabilities
