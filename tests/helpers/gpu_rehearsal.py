"""Rehearse passes on a GPU that this machine lacks: compile each kernel that they launch, and list what they copy.

Tensors are PyTorch's fake ones, which have shapes and layouts and no values. Where a kernel would be launched, Triton
compiles it for the GPU asked for, with all that comes after its own language, which its interpreter does not look at.

    python gpu_rehearsal.py '{"target": ["cuda", 90, 32], "passes": [["bfloat16", "autocast"]], "features": [64, 96]}'

prints what `Rehearsal.found` says as JSON. Triton must not interpret in this process.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import torch
import triton
from layout_copies import LayoutCopies
from torch._subclasses.fake_tensor import FakeTensorMode
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from nnunet_resunet_ds.loss.fused_region_sums import fused_region_sums
from nnunet_resunet_ds.network import ResUNetDS, forms
from nnunet_resunet_ds.plans import res_unet_ds_architecture

EDGE = 32
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


class AbsentGPU:
    """What Triton asks a driver before it compiles."""

    def __init__(self, target):
        self._target = target

    def get_current_target(self):
        return self._target

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


class Argument:
    """What Triton looks at of a tensor: its type, and by how much its address can be divided."""

    def __init__(self, tensor):
        self.dtype = tensor.dtype
        self._offset = tensor.storage_offset() * tensor.element_size()

    def data_ptr(self):
        return self._offset


class Rehearsal:
    """Compiles what is launched, and has the copies of each pass."""

    def __init__(self, target):
        self.compiled, self.launches, self.copies = {}, Counter(), {}
        driver.set_active(AbsentGPU(target))
        compile_only = JITFunction.run

        def run(kernel, *arguments, grid, warmup, **settings):
            given = [Argument(value) if isinstance(value, torch.Tensor) else value for value in arguments]
            result = compile_only(kernel, *given, grid=grid, warmup=True, **settings)
            self.launches[kernel.fn.__name__] += 1
            self.compiled[result.hash] = result

        JITFunction.run = run

    def found(self):
        kernels = [
            {
                "name": kernel.metadata.name,
                "loads": sorted(set(re.findall(r"ld\.global[.\w]*", kernel.asm.get("ptx", "")))),
                "stack": stack_bytes(kernel.asm["cubin"]) if "cubin" in kernel.asm else 0,
            }
            for kernel in self.compiled.values()
        ]
        return {"kernels": kernels, "launches": self.launches, "copies": self.copies}


def stack_bytes(binary):
    """Bytes a thread of slow memory for what does not fit into registers."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        printed = subprocess.run([CUOBJDUMP, "-res-usage", file.name], capture_output=True, text=True, check=True)
    return int(re.search(r"STACK:(\d+)", printed.stdout + printed.stderr)[1])


def fake_weights(network, dtype):
    """Replace all parameters by fake ones; those of convolutions in a number format."""
    for module in network.modules():
        is_norm = isinstance(module, torch.nn.InstanceNorm3d)
        for name, values in module.named_parameters(recurse=False):
            fake = values.detach().to(torch.float32 if is_norm else dtype, copy=True)
            module._parameters[name] = torch.nn.Parameter(fake)


def train(network, dtype):
    """A step as training takes it, with and without voxels that do not count."""
    network.decoder.deep_supervision = True
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        outputs = network(torch.randn(2, 4, EDGE, EDGE, EDGE))
    for counts in (None, torch.ones(2, 1, EDGE, EDGE, EDGE)):
        for logits in outputs:
            edge = logits.shape[-1]
            counted = None if counts is None else counts[..., :edge, :edge, :edge]
            fused_region_sums(logits, torch.rand(logits.shape) > 0.5, counted, 2.0).sum().backward(retain_graph=True)


def predict(network, dtype):
    """A pass as prediction makes it."""
    network.decoder.deep_supervision = False
    with torch.no_grad():  # in inference mode, operations would be listed before they are taken apart
        network(torch.randn(4, 4, EDGE, EDGE, EDGE, dtype=dtype))


def rehearse(target, passes, features):
    """Go through passes: how each is made, ``autocast`` or ``converted`` weights, by the name of its number format."""
    forms.CPU = (
        forms._fused_form()
    )  # fake tensors lie on the CPU, as autograd starts no thread for a GPU that is absent
    network = ResUNetDS(4, 3, **res_unet_ds_architecture((EDGE,) * 3, features)["arch_kwargs"])
    rehearsal = Rehearsal(GPUTarget(*target))
    with FakeTensorMode(allow_non_fake_inputs=True):
        for name, manner in passes:
            dtype = getattr(torch, name)
            fake_weights(network, dtype if manner == "converted" else torch.float32)
            with LayoutCopies() as copies:
                (predict if manner == "converted" else train)(network, dtype)
            rehearsal.copies[f"{name} {manner}"] = copies.found
    return rehearsal.found()


if __name__ == "__main__":
    json.dump(rehearse(**json.loads(sys.argv[1])), sys.stdout)
