"""Each faster way against PyTorch's own, alone and in a network, and its switch."""

import ctypes
import platform

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.switches import AVERAGE_POOLING, CHANNELS_LAST, FAST_PATHS, INSTANCE_NORM, is_taken
from nnunet_resunet_ds.compute import malloc
from nnunet_resunet_ds.compute.malloc import freed_memory_kept
from nnunet_resunet_ds.network import ResUNetDS
from nnunet_resunet_ds.network.instance_norm import BLOCK_VOXELS, BlockwiseInstanceNorm3d
from nnunet_resunet_ds.network.layout import PlanewiseAvgPool3d, has_whole_windows, lay_out_for
from nnunet_resunet_ds.plans import res_unet_ds_architecture

CPU = torch.device("cpu")
LAST = torch.channels_last_3d


def norm_of(channels):
    norm = BlockwiseInstanceNorm3d(channels, affine=True)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def in_fp64(norm, x):
    return F.instance_norm(x.double(), None, None, norm.weight.double(), norm.bias.double())


def test_instance_norm_of_many_voxels_is_exact():
    """PyTorch's group norm is off by 1e-3 here."""
    torch.manual_seed(0)
    norm, x = norm_of(4), (torch.randn(1, 4, 128, 128, 128) + 3).to(memory_format=LAST)
    with torch.no_grad():
        torch.testing.assert_close(norm(x).double(), in_fp64(norm, x), rtol=0, atol=1e-5)


@given(st.integers(1, 3), st.integers(1, 9), st.tuples(*[st.integers(1, 40)] * 3), st.floats(-20, 20))
def test_instance_norm_of_any_shape(n_images, channels, shape, mean):
    if shape == (1, 1, 1):
        return
    torch.manual_seed(0)
    norm, x = norm_of(channels), (torch.randn(n_images, channels, *shape) + mean).to(memory_format=LAST)
    with torch.no_grad():
        torch.testing.assert_close(norm(x).double(), in_fp64(norm, x), rtol=1e-3, atol=1e-3)


def test_its_gradient_is_that_of_the_function():
    torch.manual_seed(0)
    norm = norm_of(3)
    x = torch.randn(2, 3, 4, 3, 5).to(memory_format=LAST).requires_grad_()
    exact = x.detach().double().requires_grad_()
    along = torch.randn_like(x)
    gradients = torch.autograd.grad((norm(x) * along).sum(), [x, norm.weight, norm.bias])
    weight, bias = (value.detach().double().requires_grad_() for value in (norm.weight, norm.bias))
    expected = torch.autograd.grad(
        (F.instance_norm(exact, None, None, weight, bias) * along.double()).sum(), [exact, weight, bias]
    )
    for found, value in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found.double(), value, rtol=1e-4, atol=1e-5)


def test_it_writes_over_its_input_in_prediction_only():
    norm, x = norm_of(2), torch.randn(1, 2, 8, 8, 8).to(memory_format=LAST)
    before = x.clone()
    with torch.no_grad():
        result = norm(x)
    assert torch.equal(x, before)
    norm.overwrites = True
    assert norm(x.requires_grad_()).requires_grad and torch.equal(x, before)
    with torch.no_grad():
        assert norm(x.detach()).data_ptr() == x.data_ptr()
    torch.testing.assert_close(x.detach(), result)


@given(st.tuples(*[st.integers(1, 3)] * 3), st.tuples(*[st.integers(3, 9)] * 3), st.integers(1, 2))
def test_planewise_pooling_is_average_pooling(window, shape, n_images):
    torch.manual_seed(0)
    x = torch.randn(n_images, 3, *shape).to(memory_format=LAST).requires_grad_()
    results = []
    for kind in (nn.AvgPool3d, PlanewiseAvgPool3d):
        y = kind(window)(x)
        results.append([y, *torch.autograd.grad(y.square().sum(), x)])
    for plain, planewise in zip(*results, strict=True):
        torch.testing.assert_close(planewise, plain)


def test_pooling_of_other_windows_is_left_alone():
    others = [nn.AvgPool3d(3, 2), nn.AvgPool3d(2, padding=1), nn.AvgPool3d(2, ceil_mode=True)]
    assert not any(map(has_whole_windows, others)) and has_whole_windows(nn.AvgPool3d(2))
    network = nn.Sequential(*others)
    lay_out_for(network, CPU)
    assert {type(layer) for layer in network} == {nn.AvgPool3d}


def network():
    torch.manual_seed(0)
    made = ResUNetDS(4, 3, **res_unet_ds_architecture((32, 32, 32), (8, 16, 24))["arch_kwargs"])
    return made.apply(made.initialize).eval()


@pytest.mark.parametrize("left_out", [*FAST_PATHS, ",".join(FAST_PATHS), ""])
def test_a_switch_takes_its_path_out_and_the_network_stays_the_same(monkeypatch, left_out):
    x = torch.randn(1, 4, 32, 32, 32)
    with torch.no_grad():
        expected = network()(x)
        monkeypatch.setenv("RESUNET_DS_WITHOUT", left_out)
        made = network()
        lay_out_for(made, CPU)
        found = made(x.to(memory_format=LAST))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    kinds = {type(module) for module in made.modules()}
    assert (BlockwiseInstanceNorm3d in kinds) is (INSTANCE_NORM not in left_out)
    assert (PlanewiseAvgPool3d in kinds) is (AVERAGE_POOLING not in left_out)
    weight = made.encoder.stages[1].blocks[0].conv1.conv.weight
    assert weight.is_contiguous(memory_format=LAST) is (CHANNELS_LAST not in left_out)


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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_glibc_takes_the_settings():
    library = malloc._glibc()
    assert isinstance(library, ctypes.CDLL)
    assert all(
        library.mallopt(setting, value) == 1 for setting, value in [(-4, 0), (-1, -1), *malloc._USUAL.items()]
    )


def test_blocks_have_a_rest():
    """Otherwise none of these tests would see how the last block counts."""
    assert 128**3 % BLOCK_VOXELS == 0 and 40**3 % BLOCK_VOXELS
