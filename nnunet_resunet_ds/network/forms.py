"""Choose how the blocks of the network compute: by where a tensor lies, at each pass."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from torch import Tensor, nn

from nnunet_resunet_ds.base.errors import first_line, is_out_of_memory
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.switches import FUSED_KERNELS, is_taken
from nnunet_resunet_ds.network import cpu_forms, plain

MIN_CAPABILITY = (7, 0)
"""Of a GPU: Volta, the first with fp16 units for matrices, and the oldest that Triton compiles for."""
_TRIAL_CHANNELS = 64
"""As many as the kernels take at a time at most."""
_MAX_DIFFERENCE = 0.02
"""Of the trial, by the largest value; rounding to fp16 makes it 0.002."""
_PLAIN_ONLY = ContextVar("plain only", default=False)
"""Whether a block of `plain_only` runs."""
_FUSED_DTYPES = (torch.float16, torch.bfloat16, torch.float32)


@dataclass(frozen=True)
class Form:
    """How the blocks compute; every form gives the same values up to rounding."""

    name: str
    conv_norm: Callable[..., Tensor]
    """Convolve and normalise by a unit of nnU-Net's blocks; where given, add a residual and take a leaky ReLU of this
    slope: ``(unit, x, slope=None, residual=None)``, tensors (B, C, Z, Y, X)."""
    average_pool: Callable[[Tensor, Sequence[int]], Tensor]
    """The mean over each window: ``(x, (depth, height, width))``."""
    upsample_and_join: Callable[[nn.ConvTranspose3d, Tensor, Tensor], Tensor]
    """A transposed convolution, joined with a skip along the channels: ``(conv, x, skip)``."""


PLAIN = Form("plain", plain.conv_norm, plain.average_pool, plain.upsample_and_join)
CPU = Form("cpu", cpu_forms.conv_norm, cpu_forms.average_pool, cpu_forms.upsample_and_join)


def form_of(x: Tensor) -> Form:
    """Return the form that computes fastest where this tensor lies."""
    if torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export() or torch._C._get_tracing_state():
        return PLAIN
    if _PLAIN_ONLY.get():
        return PLAIN
    if x.device.type == "cpu":
        return CPU
    form = fused_form(x.device.index) if _may_be_fused(x) else None
    return form or PLAIN


@contextmanager
def plain_only() -> Iterator[None]:
    """Let networks compute in the plain form in this block: as nnU-Net's own would, to compare with."""
    token = _PLAIN_ONLY.set(True)
    try:
        yield
    finally:
        _PLAIN_ONLY.reset(token)


def runs_fused(x: Tensor) -> bool:
    """Tell whether the fused kernels run where this tensor lies."""
    return _may_be_fused(x) and fused_form(x.device.index) is not None


def _may_be_fused(x: Tensor) -> bool:
    """Tell whether the kernels may run, but for what the GPU says; Triton starts them on the current GPU alone."""
    if _PLAIN_ONLY.get() or x.device.type != "cuda" or x.dtype not in _FUSED_DTYPES:
        return False
    return is_taken(FUSED_KERNELS) and x.device.index == torch.cuda.current_device()


def laid_out(x: Tensor, *, channels_last: bool) -> Tensor:
    """Return the input in the layout that its form computes fastest in.

    Args:
        x: (B, C, Z, Y, X).
        channels_last: whether the weights are.
    """
    is_compiled = torch.compiler.is_compiling() and (x.device.type == "cpu" or not torch.is_grad_enabled())
    if form_of(x) is PLAIN and not is_compiled:
        return x.contiguous()  # PyTorch's norm and pooling copy every tensor otherwise
    return x.contiguous(memory_format=torch.channels_last_3d) if channels_last else x


@functools.cache
def fused_form(device_index: int | None) -> Form | None:
    """Return the form of fused Triton kernels; None, after a line that says why, where they do not run.

    They are tried once a process and GPU, on a small block against the plain form.
    """
    reason = why_not_fused(torch.device("cuda", device_index or 0))
    if reason is not None:
        LOG.warning("No fused kernels on this GPU, which computes at half of its speed without: %s", reason)
        return None
    return _fused_form()


def _fused_form() -> Form:
    from nnunet_resunet_ds.network import fused  # noqa: PLC0415 (needs Triton)

    return Form("fused", fused.conv_norm, fused.average_pool, fused.upsample_and_join)


def why_not_fused(device: torch.device) -> str | None:
    """Return why the fused kernels do not run on a GPU; None where they do."""
    capability = torch.cuda.get_device_capability(device)
    if torch.version.hip is None and capability < MIN_CAPABILITY:
        return f"its compute capability is {capability[0]}.{capability[1]}; {MIN_CAPABILITY[0]}.0 is needed"
    try:
        return _differences(device)
    except ImportError:
        return "Triton is not installed (PyTorch's CUDA builds for Linux bring it)"
    except Exception as error:  # a missing compiler, a driver that does not fit: as many types as causes
        if is_out_of_memory(error):
            raise torch.OutOfMemoryError(str(error)) from error
        return f"Triton cannot compile: {first_line(error)}"


def _differences(device: torch.device) -> str | None:
    """Return what is wrong with a small block in fp16, in value or gradient, against fp32; None where nothing is."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        torch.default_generator.manual_seed(0)  # that of the CPU alone, as its state alone is given back
        n = _TRIAL_CHANNELS
        unit = ConvDropoutNormReLU(nn.Conv3d, n, n, 3, 1, True, nn.InstanceNorm3d, {"affine": True}).to(device)
        up = nn.ConvTranspose3d(n, n, 2, 2).to(device)
        x = torch.randn(2, n, 8, 8, 8).to(device)
        with torch.autocast(device.type, enabled=False):
            expected = _trial(PLAIN, unit, up, x)
            unit.conv.half()
            found = _trial(_fused_form(), unit, up.half(), x.half())
    errors = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True)]
    wrong = [error for error in errors if not error < _MAX_DIFFERENCE]  # NaN is wrong, too
    return f"its results are off by {wrong[0]:.2g}" if wrong else None


def _trial(form: Form, unit: ConvDropoutNormReLU, up: nn.ConvTranspose3d, x: Tensor) -> list[Tensor]:
    """Run each operation of a form once; return the result, and gradients by input and weights."""
    x = x.detach().clone().requires_grad_()
    y = form.conv_norm(unit, x, 0.01, x)
    y = form.upsample_and_join(up, form.average_pool(y, (2, 2, 2)), y)
    gradients = torch.autograd.grad(y.float().square().mean(), [x, unit.norm.weight, up.weight, up.bias])
    return [tensor.detach().float() for tensor in (y, *gradients)]
