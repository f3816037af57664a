"""The loss by Triton against the loss by PyTorch in fp64: on a GPU where there is one, else by Triton's interpreter."""

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from nnunet_resunet_ds.loss import RegionDiceFocalLoss, region_loss
from nnunet_resunet_ds.loss.region_loss import region_sums

pytest.importorskip("triton", reason="Triton comes with PyTorch's CUDA builds for Linux")
fused = pytest.importorskip("nnunet_resunet_ds.loss.fused_region_sums")

pytestmark = pytest.mark.gpu
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-3, torch.bfloat16: 2e-2}
"""Of the largest value; the logits themselves are the same in both."""


@settings(max_examples=25, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    n_samples=st.integers(1, 3),
    n_regions=st.integers(1, 4),
    shape=st.tuples(*[st.integers(1, 13)] * 3),
    dtype=st.sampled_from(list(TOLERANCE)),
    channels_last=st.booleans(),
    ignores=st.booleans(),
    gamma=st.sampled_from([0.0, 0.5, 2.0]),
    soft=st.booleans(),
)
def test_sums_and_gradient(n_samples, n_regions, shape, dtype, channels_last, ignores, gamma, soft):
    torch.manual_seed(0)
    logits = (torch.randn(n_samples, n_regions, *shape) * 4).to(DEVICE, dtype)
    if channels_last:
        logits = logits.contiguous(memory_format=torch.channels_last_3d)
    target = torch.rand(logits.shape, device=DEVICE)
    target = target if soft else target > 0.7
    counts = (torch.rand(n_samples, 1, *shape, device=DEVICE) > 0.3).float() if ignores else None
    along = torch.randn(5, n_samples, n_regions, device=DEVICE)
    results = []
    for function, given_logits in ((fused.fused_region_sums, logits), (in_fp64, logits.double())):
        leaf = given_logits.detach().requires_grad_()
        sums = function(leaf, target, counts, gamma)
        results.append([sums, *torch.autograd.grad((sums * along).sum(), leaf)])
    for found, expected, tolerance in zip(*results, (1e-4, TOLERANCE[dtype]), strict=True):
        largest = max(1.0, float(expected.detach().abs().max()))
        torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=tolerance * largest)


def in_fp64(logits, target, counts, gamma):
    """The sums from their definition, without the tricks of the product."""
    p, t = logits.sigmoid(), target.double()
    right = p * t + (1 - p) * (1 - t) if not target.is_floating_point() else (-logits * (2 * t - 1)).sigmoid()
    of_truth = torch.nn.functional.binary_cross_entropy_with_logits(logits, t, reduction="none")
    wrong = 1 - right if not target.is_floating_point() else right
    values = torch.stack((p * t, p, t, wrong**gamma * of_truth, torch.ones_like(p)))
    return (values if counts is None else values * counts).sum((3, 4, 5))


@pytest.mark.parametrize(("batch_dice", "ignores"), [(True, False), (True, True), (False, False)])
def test_the_loss_is_the_same_by_either_form(monkeypatch, batch_dice, ignores):
    torch.manual_seed(0)
    made = RegionDiceFocalLoss(batch_dice=batch_dice, use_ignore_label=ignores, region_weights=[1, 2, 3]).to(DEVICE)
    logits = torch.randn(2, 3, 9, 8, 7, device=DEVICE, requires_grad=True)
    target = torch.rand(2, 3 + ignores, 9, 8, 7, device=DEVICE) > 0.6
    calls, results = [], []
    monkeypatch.setattr(region_loss, "_fused_region_sums", lambda *x: calls.append(x) or fused.fused_region_sums(*x))
    for form in (False, True):
        monkeypatch.setattr(region_loss, "runs_fused", lambda _, form=form: form)
        value = made(logits, target)
        results.append([value, *torch.autograd.grad(value, logits)])
    assert len(calls) == 1
    for plain, by_triton in zip(*results, strict=True):
        torch.testing.assert_close(by_triton, plain, rtol=1e-4, atol=1e-7)


def test_the_voxels_are_shared_by_programs(monkeypatch):
    monkeypatch.setattr(fused, "_VOXELS", 64)
    monkeypatch.setattr(fused, "_PROGRAMS", 3)
    torch.manual_seed(0)
    logits, target = torch.randn(1, 2, 9, 9, 9, device=DEVICE), torch.rand(1, 2, 9, 9, 9, device=DEVICE) > 0.5
    found = fused.fused_region_sums(logits, target, None, 2.0)
    torch.testing.assert_close(found, region_sums(logits, target, None, 2.0), rtol=1e-5, atol=1e-4)
