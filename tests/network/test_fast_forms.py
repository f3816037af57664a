"""Each faster way on a CPU against PyTorch's own, alone and in a network, and its switch; which form is chosen."""

import ctypes
import platform

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.switches import CHANNELS_LAST, FAST_PATHS, INSTANCE_NORM, is_taken
from nnunet_resunet_ds.compute import malloc
from nnunet_resunet_ds.compute.malloc import freed_memory_kept
from nnunet_resunet_ds.network import ResUNetDS, cpu_forms, forms
from nnunet_resunet_ds.network.cpu_forms import BLOCK_VOXELS, average_pool, normalised
from nnunet_resunet_ds.plans import res_unet_ds_architecture

LAST = torch.channels_last_3d


def norm_of(channels):
    norm = nn.InstanceNorm3d(channels, affine=True)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def in_fp64(norm, x):
    return F.instance_norm(x.double().contiguous(), None, None, norm.weight.double(), norm.bias.double())


@pytest.mark.parametrize("left_out", ["", INSTANCE_NORM])
def test_instance_norm_of_many_voxels_is_exact(monkeypatch, left_out):
    """PyTorch's group norm of a channels-last tensor is off by 1e-3 here."""
    monkeypatch.setenv("RESUNET_DS_WITHOUT", left_out)
    torch.manual_seed(0)
    norm, x = norm_of(4), (torch.randn(1, 4, 128, 128, 128) + 3).to(memory_format=LAST)
    with torch.no_grad():
        expected = in_fp64(norm, x)
        found = normalised(x, norm)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)
    assert found.is_contiguous(memory_format=LAST)


@given(st.integers(1, 3), st.integers(1, 9), st.tuples(*[st.integers(1, 40)] * 3), st.floats(-20, 20))
def test_instance_norm_of_any_shape(n_images, channels, shape, mean):
    if shape == (1, 1, 1):
        return
    torch.manual_seed(0)
    norm, x = norm_of(channels), (torch.randn(n_images, channels, *shape) + mean).to(memory_format=LAST)
    with torch.no_grad():
        expected = in_fp64(norm, x)
        torch.testing.assert_close(normalised(x, norm).double(), expected, rtol=1e-3, atol=1e-3)


def test_its_gradient_is_that_of_the_function():
    torch.manual_seed(0)
    norm = norm_of(3)
    x = torch.randn(2, 3, 4, 3, 5).to(memory_format=LAST).requires_grad_()
    exact = x.detach().double().requires_grad_()
    along = torch.randn_like(x)
    gradients = torch.autograd.grad((normalised(x, norm) * along).sum(), [x, norm.weight, norm.bias])
    weight, bias = (value.detach().double().requires_grad_() for value in (norm.weight, norm.bias))
    expected = torch.autograd.grad(
        (F.instance_norm(exact, None, None, weight, bias) * along.double()).sum(), [exact, weight, bias]
    )
    for found, value in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found.double(), value, rtol=1e-4, atol=1e-5)


def test_it_writes_over_its_input_in_prediction_only():
    norm, x = norm_of(2), torch.randn(1, 2, 8, 8, 8).to(memory_format=LAST)
    before = x.clone()
    result = normalised(x, norm)
    assert result.requires_grad and torch.equal(x, before)
    with torch.no_grad():
        assert normalised(x, norm).data_ptr() == x.data_ptr()
    torch.testing.assert_close(x, result.detach())


@pytest.mark.parametrize("wants_gradient", [True, False])
def test_residual_and_activation_are_in_the_blocks_or_after_them(wants_gradient):
    """40³ voxels are several blocks and a rest."""
    torch.manual_seed(0)
    norm = norm_of(3)
    x, residual = (torch.randn(2, 3, 40, 40, 40).to(memory_format=LAST) for _ in range(2))
    expected = F.leaky_relu(in_fp64(norm, x) + residual.double(), 0.2)
    with torch.set_grad_enabled(wants_gradient):
        found = normalised(x, norm, 0.2, residual)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


def test_one_voxel_is_refused():
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        normalised(torch.zeros(1, 3, 1, 1, 1), norm_of(3))


@given(st.tuples(*[st.integers(1, 3)] * 3), st.tuples(*[st.integers(3, 9)] * 3), st.integers(1, 2))
def test_planewise_pooling_is_average_pooling(window, shape, n_images):
    torch.manual_seed(0)
    x = torch.randn(n_images, 3, *shape).to(memory_format=LAST).requires_grad_()
    results = []
    for pool in (nn.AvgPool3d(window), lambda x: average_pool(x, window)):
        y = pool(x)
        results.append([y, *torch.autograd.grad(y.square().sum(), x)])
    for plain, planewise in zip(*results, strict=True):
        torch.testing.assert_close(planewise, plain)


def network():
    torch.manual_seed(0)
    made = ResUNetDS(4, 3, **res_unet_ds_architecture((32, 32, 32), (8, 16, 24))["arch_kwargs"])
    return made.apply(made.initialize).eval()


@pytest.mark.parametrize("left_out", [*FAST_PATHS, ",".join(FAST_PATHS), ""])
def test_a_switch_takes_its_path_out_and_the_network_stays_the_same(two_threads, monkeypatch, left_out):
    x = torch.randn(2, 4, 32, 32, 32)
    with torch.no_grad():
        expected = network()(x)
        monkeypatch.setenv("RESUNET_DS_WITHOUT", left_out)
        blockwise = noted_calls(monkeypatch, cpu_forms, "_normalise")
        pooled_by_pytorch = noted_calls(monkeypatch, cpu_forms.plain, "average_pool")
        made = network()
        found = made(x)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    weight = made.encoder.stages[1].blocks[0].conv1.conv.weight
    assert weight.is_contiguous(memory_format=LAST) is (CHANNELS_LAST not in left_out)
    assert bool(blockwise) is not ("instance-norm" in left_out or CHANNELS_LAST in left_out)
    assert bool(pooled_by_pytorch) is ("average-pooling" in left_out)


def noted_calls(monkeypatch, module, name):
    """Note each call of a function of a module."""
    calls, function = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda *inputs: calls.append(name) or function(*inputs))
    return calls


class Elsewhere:
    """A tensor on another device, as far as the choice of a form looks."""

    def __init__(self, device, dtype=torch.float16):
        self.device, self.dtype = torch.device(device), dtype


@pytest.fixture
def current_gpu(monkeypatch):
    """Return a function that says which one is current."""

    def choose(index):
        monkeypatch.setattr(torch.cuda, "current_device", lambda: index)

    return choose


def test_the_form_follows_the_device(monkeypatch, current_gpu):
    monkeypatch.setattr(forms, "fused_form", lambda index: f"fused on {index}")
    current_gpu(1)
    assert forms.form_of(torch.zeros(1)) is forms.CPU
    assert forms.form_of(Elsewhere("cuda:1")) == "fused on 1"
    assert forms.form_of(Elsewhere("cuda:1", torch.float64)) is forms.PLAIN
    assert forms.form_of(Elsewhere("mps")) is forms.form_of(Elsewhere("meta")) is forms.PLAIN
    current_gpu(0)  # where Triton would start kernels on the tensors of another GPU
    assert forms.form_of(Elsewhere("cuda:1")) is forms.PLAIN
    current_gpu(1)
    monkeypatch.setenv("RESUNET_DS_WITHOUT", "fused-kernels")
    assert forms.form_of(Elsewhere("cuda:1")) is forms.PLAIN


@pytest.mark.parametrize(
    ("capability", "error", "line"),
    [((6, 1), None, "its compute capability is 6.1; 7.0 is needed"),
     ((9, 0), ImportError("no module named triton"), "Triton is not installed"),
     ((9, 0), RuntimeError("Failed to find C compiler.\nmore"), "Triton cannot compile: Failed to find C compiler.")],
)  # fmt: skip
def test_a_gpu_where_the_kernels_do_not_run_gets_the_plain_form_and_one_line(
    monkeypatch, caplog, current_gpu, capability, error, line
):
    current_gpu(0)

    def fails(device):
        raise error

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(forms, "_differences", fails)
    forms.fused_form.cache_clear()
    with caplog.at_level("WARNING"):
        assert forms.form_of(Elsewhere("cuda:0")) is forms.form_of(Elsewhere("cuda:0")) is forms.PLAIN
    forms.fused_form.cache_clear()
    (message,) = [record.getMessage() for record in caplog.records]
    assert line in message and "half of its speed" in message


def test_plain_only_is_for_its_block(monkeypatch, current_gpu):
    current_gpu(0)
    made, x = network(), torch.randn(1, 4, 32, 32, 32)
    expected = made(x)[0]
    in_the_form_of_cpus = noted_calls(monkeypatch, cpu_forms, "check_voxels")
    monkeypatch.setattr(forms, "fused_form", lambda index: "fused")
    with forms.plain_only():
        torch.testing.assert_close(made(x)[0], expected, rtol=1e-4, atol=1e-4)
        assert not in_the_form_of_cpus
        assert forms.form_of(Elsewhere("cuda:0")) is forms.PLAIN and not forms.runs_fused(Elsewhere("cuda:0"))
    made(x)
    assert in_the_form_of_cpus and forms.runs_fused(Elsewhere("cuda:0"))


def test_a_compiled_and_an_exported_network_is_plain_pytorch(monkeypatch):
    made, x = network(), torch.randn(1, 4, 32, 32, 32)
    expected = made(x)[0]
    monkeypatch.setattr(forms, "CPU", None)  # whose operations would fail
    exported = torch.export.export(made, (x,)).module()
    traced = torch.jit.trace(made, x, check_trace=False)
    for again in (exported, traced):
        torch.testing.assert_close(again(x)[0], expected, rtol=1e-4, atol=1e-4)


def test_an_unknown_path_is_named(monkeypatch):
    monkeypatch.setenv("RESUNET_DS_WITHOUT", "kept-memory, magic")
    with pytest.raises(InputError, match="RESUNET_DS_WITHOUT: no fast path magic; there are channels-last"):
        is_taken(INSTANCE_NORM)


class Library:
    """What a C library is told."""

    def __init__(self):
        self.told = []

    def mallopt(self, setting, value):
        self.told.append((setting, value))

    def malloc_trim(self, pad):
        self.told.append(("trim", pad))


@pytest.mark.parametrize(
    ("device", "left_out", "kept"), [("cpu", "", True), ("cpu", "kept-memory", False), ("cuda", "", False)]
)
def test_memory_is_kept_on_a_cpu_and_given_back(monkeypatch, device, left_out, kept):
    library = Library()
    monkeypatch.setattr(malloc, "_glibc", lambda: library)
    monkeypatch.setenv("RESUNET_DS_WITHOUT", left_out)
    with pytest.raises(ZeroDivisionError), freed_memory_kept(torch.device(device)):
        within = list(library.told)
        raise ZeroDivisionError
    assert within == ([(-4, 0), (-1, -1)] if kept else [])
    assert (library.told[-1:] == [("trim", 0)]) is kept and len(library.told) == (6 if kept else 0)


def test_a_block_within_another_leaves_memory_kept(monkeypatch):
    """As the number format is chosen while a training has begun."""
    library = Library()
    monkeypatch.setattr(malloc, "_glibc", lambda: library)
    cpu = torch.device("cpu")
    with freed_memory_kept(cpu):
        with freed_memory_kept(cpu):
            pass
        assert library.told == [(-4, 0), (-1, -1), ("trim", 0)]
    assert library.told[3:] == [*malloc._USUAL.items(), ("trim", 0)]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_glibc_takes_the_settings():
    library = malloc._glibc()
    assert isinstance(library, ctypes.CDLL)
    assert all(library.mallopt(setting, value) == 1 for setting, value in [(-4, 0), (-1, -1), *malloc._USUAL.items()])


def test_blocks_have_a_rest():
    """Otherwise none of these tests would see how the last block counts."""
    assert 128**3 % BLOCK_VOXELS == 0 and 40**3 % BLOCK_VOXELS
