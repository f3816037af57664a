"""The Triton kernels against PyTorch in fp64: on a GPU where there is one, else on the CPU by Triton's interpreter."""

from unittest import mock

import pytest
import torch
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from nnunet_resunet_ds.network import ResUNetDS, blocks, forms, res_unet_ds
from nnunet_resunet_ds.plans import res_unet_ds_architecture

pytest.importorskip("triton", reason="Triton comes with PyTorch's CUDA builds for Linux")
fused = pytest.importorskip("nnunet_resunet_ds.network.fused")

pytestmark = pytest.mark.gpu
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LAST = torch.channels_last_3d
TOLERANCE = {torch.float64: 1e-6, torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Of values about 1."""
DTYPES = list(TOLERANCE)
QUICKLY = (Phase.explicit, Phase.reuse, Phase.generate)
"""Without shrinking, for the interpreter is slow."""


def random(*shape, dtype=torch.float32, mean=0.0):
    made = (torch.randn(shape, dtype=torch.float64) + mean).to(DEVICE, dtype)
    return made.contiguous(memory_format=LAST) if len(shape) == 5 else made


def norm_of(channels, dtype=torch.float32):
    norm = nn.InstanceNorm3d(channels, affine=True, device=DEVICE, dtype=dtype)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def by_pytorch(x, weight, bias, eps, slope, residual):
    """The same in fp64, from its definition: PyTorch's own instance norm has a wrong gradient for one image."""
    axes, (weight, bias) = (2, 3, 4), (value.double().view(-1, 1, 1, 1) for value in (weight, bias))
    variance, mean = torch.var_mean(x.double(), axes, correction=0, keepdim=True)
    y = (x.double() - mean) * (variance + eps).rsqrt() * weight + bias
    y = y if residual is None else y + residual.double()
    return y if slope is None else F.leaky_relu(y, slope)


def leaves(*tensors):
    return [None if tensor is None else tensor.detach().clone().requires_grad_() for tensor in tensors]


def gradients(function, along, *inputs):
    """The result of a function and its gradients by every input, along a direction."""
    result = function(*inputs)
    given = [tensor for tensor in inputs if tensor is not None]
    return [result, *torch.autograd.grad((result.double() * along.double()).sum(), given)]


def assert_close(found, expected, dtype, scale=1.0):
    for a, b in zip(found, expected, strict=True):
        size = max(1.0, float(b.detach().abs().max()))
        torch.testing.assert_close(a.double(), b.double(), rtol=0, atol=TOLERANCE[dtype] * size * scale)


@pytest.fixture(autouse=True)
def exact_convolutions(monkeypatch):
    """Without TF32, to which PyTorch rounds fp32 convolutions on a GPU unless told otherwise."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


SHAPES = st.tuples(*[st.integers(1, 9)] * 3).filter(lambda shape: shape != (1, 1, 1))


@settings(max_examples=16, phases=QUICKLY)
@given(
    programs=st.sampled_from([1, 3, 1024]),
    n_samples=st.integers(1, 3),
    channels=st.sampled_from([1, 2, 3, 7, 16, 24, 31, 64, 80, 96, 130]),
    shape=SHAPES,
    dtype=st.sampled_from(DTYPES),
    adds=st.booleans(),
    slope=st.sampled_from([None, 0.01, 0.3]),
    mean=st.floats(-3, 3),
)
def test_norm_sum_and_activation_of_any_shape_and_format(
    programs, n_samples, channels, shape, dtype, adds, slope, mean
):
    torch.manual_seed(0)
    norm = norm_of(channels, torch.float64 if dtype == torch.float64 else torch.float32)
    x = random(n_samples, channels, *shape, dtype=dtype, mean=mean)
    residual = random(*x.shape, dtype=dtype) if adds else None
    along = random(*x.shape, dtype=dtype)
    inputs = (x, norm.weight, norm.bias, residual)

    def ours(x, weight, bias, residual):
        norm.weight, norm.bias = weight, bias
        with mock.patch.object(fused, "_PROGRAMS", programs):
            return fused.normalised(x, norm, slope, residual)

    def theirs(x, weight, bias, residual):
        return by_pytorch(x, weight, bias, norm.eps, slope, residual)

    few = 8 if x[0, 0].numel() < 8 else 1  # voxels: then one over the deviation is large
    ours_, theirs_ = (
        [nn.Parameter(leaf) if n in (1, 2) else leaf for n, leaf in enumerate(leaves(*inputs))] for _ in "ab"
    )
    assert_close(gradients(ours, along, *ours_), gradients(theirs, along, *theirs_), dtype, scale=4 * few)


@pytest.mark.parametrize("channels", [96, 384, 512])
def test_norm_of_the_papers_widths_without_gradient_is_in_place(channels):
    torch.manual_seed(0)
    norm, x, residual = norm_of(channels), random(2, channels, 2, 3, 4), random(2, channels, 2, 3, 4)
    expected = by_pytorch(x, norm.weight, norm.bias, norm.eps, 0.01, residual)
    with torch.no_grad():
        found = fused.normalised(x, norm, 0.01, residual)
    assert found.data_ptr() == x.data_ptr() and found.is_contiguous(memory_format=LAST)
    assert_close([found], [expected], torch.float32)


@pytest.mark.parametrize("programs", [1, 5, 1024])
def test_a_large_mean_costs_no_digits(monkeypatch, programs):
    """E[x²] − E[x]² would leave nothing here: it is 1e8 ± 8 in fp32, for a variance of 1."""
    monkeypatch.setattr(fused, "_PROGRAMS", programs)  # which share 31 blocks and a rest
    torch.manual_seed(0)
    x, norm = random(1, 16, 20, 20, 20, mean=1e4)[..., 1:].contiguous(memory_format=LAST), norm_of(16)
    mean, scale = fused.moments(x, norm.eps)
    exact = x.double().flatten(2)
    torch.testing.assert_close(mean.double(), exact.mean(2), rtol=1e-6, atol=0)
    torch.testing.assert_close(scale.double(), exact.var(2, correction=0).rsqrt(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("adds", [True, False])
def test_gradcheck_of_norm(adds):
    torch.manual_seed(0)
    norm = norm_of(3, torch.float64)
    x, residual = random(2, 3, 2, 3, 2, dtype=torch.float64), random(2, 3, 2, 3, 2, dtype=torch.float64)

    def function(x, weight, bias, residual):
        return fused._Normalised.apply(x, weight, bias, residual if adds else None, None, norm.eps, 0.1)

    inputs = leaves(x, norm.weight, norm.bias, residual)
    assert torch.autograd.gradcheck(function, inputs[: 3 + adds] + ([] if adds else [residual]), fast_mode=True)


@settings(max_examples=12, phases=QUICKLY)
@given(
    n_samples=st.integers(1, 3),
    channels=st.sampled_from([1, 3, 8, 33, 64]),
    shape=st.tuples(*[st.integers(3, 9)] * 3),
    window=st.tuples(*[st.integers(1, 3)] * 3),
    dtype=st.sampled_from(DTYPES),
)
def test_average_pooling(n_samples, channels, shape, window, dtype):
    torch.manual_seed(0)
    x = random(n_samples, channels, *shape, dtype=dtype)
    along = random(n_samples, channels, *(a // w for a, w in zip(shape, window, strict=True)), dtype=dtype)
    found = gradients(lambda x: fused.average_pool(x, window), along, *leaves(x))
    expected = gradients(lambda x: F.avg_pool3d(x.double(), window, window), along, *leaves(x))
    assert found[0].is_contiguous(memory_format=LAST)
    assert_close(found, expected, dtype)


@settings(max_examples=12, phases=QUICKLY)
@given(
    n_samples=st.integers(1, 3),
    channels=st.tuples(*[st.sampled_from([1, 3, 16, 40, 64])] * 3),
    shape=st.tuples(*[st.integers(1, 4)] * 3),
    kernel=st.tuples(*[st.integers(1, 2)] * 3),
    dtype=st.sampled_from(DTYPES),
)
def test_upsampling_and_joining(n_samples, channels, shape, kernel, dtype):
    torch.manual_seed(0)
    n_in, n_up, n_skip = channels
    conv = nn.ConvTranspose3d(n_in, n_up, kernel, kernel, device=DEVICE, dtype=dtype).to(memory_format=LAST)
    finer = [a * k for a, k in zip(shape, kernel, strict=True)]
    x, skip = random(n_samples, n_in, *shape, dtype=dtype), random(n_samples, n_skip, *finer, dtype=dtype)
    along = random(n_samples, n_up + n_skip, *finer, dtype=dtype)

    def ours(x, skip, weight, bias):
        conv.weight, conv.bias = weight, bias
        return fused.upsample_and_join(conv, x, skip)

    def theirs(x, skip, weight, bias):
        up = F.conv_transpose3d(x.double(), weight.double(), bias.double(), kernel)
        return torch.cat((up, skip.double()), dim=1)

    inputs = (x, skip, conv.weight, conv.bias)
    ours_ = [nn.Parameter(leaf) if n > 1 else leaf for n, leaf in enumerate(leaves(*inputs))]
    assert_close(gradients(ours, along, *ours_), gradients(theirs, along, *leaves(*inputs)), dtype, scale=2)


def test_the_trial_passes_and_sees_a_wrong_kernel(monkeypatch):
    assert forms._differences(DEVICE) is None
    right = fused.average_pool
    monkeypatch.setattr(fused, "average_pool", lambda x, window: right(x, window) * 1.1)
    assert forms._differences(DEVICE).startswith("its results are off by 0.")


def test_the_trial_sees_a_gradient_that_is_no_number(monkeypatch):
    """NaN is neither less nor more than what is allowed."""

    def without_number(*arguments):
        arguments[7].fill_(torch.nan)

    monkeypatch.setattr(fused, "_gradient_of_input", without_number)
    assert forms._differences(DEVICE) == "its results are off by nan"


def test_the_trial_leaves_random_numbers_as_they_were(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    seeded.clear()
    forms._differences(DEVICE)
    assert torch.equal(torch.random.get_rng_state(), state) and seeded == []


@pytest.mark.parametrize(("slope", "n_maps"), [(None, 1), (0.01, 2)])
def test_a_result_is_kept_for_the_gradient_only_where_it_is_activated(slope, n_maps):
    kept = {}
    x, residual = (random(2, 4, 6, 6, 6) for _ in range(2))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t):
        fused.normalised(x, norm_of(4), slope, residual)
    assert sum(tensor.shape == x.shape for tensor in kept.values()) == n_maps


def test_the_trial_does_not_take_a_full_gpu_for_one_without_kernels(monkeypatch):
    def full(_):
        raise RuntimeError("Triton Error [CUDA]: out of memory")

    monkeypatch.setattr(forms, "_differences", full)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    with pytest.raises(torch.OutOfMemoryError, match="Triton Error"):
        forms.why_not_fused(torch.device("cuda", 0))


def test_a_bias_that_the_norm_cancels_is_left_out_and_gets_a_gradient_of_zero():
    torch.manual_seed(0)
    unit = ConvDropoutNormReLU(nn.Conv3d, 4, 8, 3, 1, True, nn.InstanceNorm3d, {"affine": True}).to(DEVICE)
    x = random(1, 4, 6, 6, 6)
    with torch.no_grad():
        plain = forms.PLAIN.conv_norm(unit, x)
        unit.conv.bias += 5
    result = fused.conv_norm(unit, x)
    torch.testing.assert_close(result, plain, rtol=1e-4, atol=1e-4)
    result.square().sum().backward()
    assert torch.equal(unit.conv.bias.grad, torch.zeros(8, device=DEVICE))


def test_one_voxel_is_refused():
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        fused.normalised(random(1, 3, 1, 1, 1), norm_of(3))


# ---- the whole network ----


def network(residual, patch=(16, 16, 16)):
    torch.manual_seed(0)
    made = ResUNetDS(4, 3, **res_unet_ds_architecture(patch, (8, 16, 24), residual=residual)["arch_kwargs"])
    made.apply(made.initialize)
    for name, parameter in made.named_parameters():
        if name.endswith(("norm.weight", "norm.bias", "conv.bias")):
            nn.init.normal_(parameter, 1)
    return made.to(DEVICE)


def take(monkeypatch, form):
    """Let the network compute in this form, wherever its tensors lie."""
    for module in (forms, blocks, res_unet_ds):
        monkeypatch.setattr(module, "form_of", lambda _: form)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("form", ["plain", "cpu", "fused"])
def test_each_form_is_the_same_network_as_in_fp64(monkeypatch, form, residual):
    made, exact = network(residual), network(residual).double()
    x = random(2, 4, 16, 16, 16)
    take(monkeypatch, {"plain": forms.PLAIN, "cpu": forms.CPU, "fused": forms._fused_form()}[form])
    outputs = made(x)
    sum(output.square().mean() for output in outputs).backward()
    take(monkeypatch, forms.PLAIN)
    expected = exact(x.double())
    sum(output.square().mean() for output in expected).backward()
    for found, right in zip(outputs, expected, strict=True):
        torch.testing.assert_close(found.double(), right, rtol=1e-3, atol=1e-3)
    for (name, found), right in zip(made.named_parameters(), exact.parameters(), strict=True):
        if name.endswith("conv.bias"):  # cancelled: what it has is rounding
            assert found.grad is not None and right.grad.abs().max() < 1e-9
            continue
        assert float((found.grad - right.grad).norm() / right.grad.norm()) < 1e-3, name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_convolutions_in_half_formats_and_norms_in_fp32(monkeypatch, dtype):
    """As in prediction on a GPU."""
    made = network(True).eval()
    x = random(1, 4, 16, 16, 16)
    with torch.no_grad():
        expected = made(x)[0].sigmoid()
        take(monkeypatch, forms._fused_form())
        for module in made.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                module.to(dtype)
        found = made(x.to(dtype))[0].float().sigmoid()
    assert float((found - expected).abs().mean()) < {torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
