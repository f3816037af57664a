import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DiceLoss, FocalLoss
from torch import multiprocessing

from nnunet_resunet_ds.loss import RegionDiceFocalLoss
from nnunet_resunet_ds.trainer import head_weights


def example(batch=2, regions=3, size=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, regions, size, size, size, generator=generator) * 3
    target = torch.rand(batch, regions, size, size, size, generator=generator) < 0.2
    return logits.requires_grad_(), target


def monai_loss(logits, target, dice_weight=0.7, gamma=2.0, batch_dice=True):
    dice = DiceLoss(sigmoid=True, batch=batch_dice, smooth_nr=1e-5, smooth_dr=1e-5)
    focal = FocalLoss(gamma=gamma)
    return dice_weight * dice(logits, target.float()) + (1 - dice_weight) * focal(logits, target.float())


@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize(
    ("dice_weight", "gamma"), [(0.7, 2.0), (0.5, 2.0), (0.0, 2.0), (1.0, 2.0), (0.3, 0.0), (0.3, 0.5)]
)
def test_equals_monai_in_value_and_gradient(dice_weight, gamma, batch_dice):
    logits, target = example()
    loss = RegionDiceFocalLoss(dice_weight, gamma, batch_dice)(logits, target)
    expected = monai_loss(logits, target, dice_weight, gamma, batch_dice)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=0)
    gradient, expected_gradient = (
        torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (loss, expected)
    )
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-5 * expected_gradient.abs().max().item(), rtol=1e-4)


def test_the_defaults_are_the_paper_s():
    logits, target = example()
    torch.testing.assert_close(RegionDiceFocalLoss()(logits, target), monai_loss(logits, target))  # D6


def test_gamma_zero_is_binary_cross_entropy():
    logits, target = example()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, target.float())
    torch.testing.assert_close(RegionDiceFocalLoss(dice_weight=0, gamma=0)(logits, target), expected)


def test_dice_of_a_known_overlap():
    """Closed form: two of four voxels predicted with certainty, one of them true."""
    logits = torch.tensor([50.0, 50.0, -50.0, -50.0]).reshape(1, 1, 1, 1, 4)
    target = torch.tensor([True, False, False, False]).reshape(1, 1, 1, 1, 4)
    assert RegionDiceFocalLoss(dice_weight=1)(logits, target).item() == pytest.approx(1 - 2 / 3, abs=1e-5)


def test_the_smoothing_is_1e_5_above_and_below():
    logits = torch.full((1, 1, 1, 1, 1), -50.0)
    assert RegionDiceFocalLoss(dice_weight=1)(logits, torch.zeros(1, 1, 1, 1, 1)).item() == pytest.approx(0)
    half = torch.logit(torch.tensor(1e-5)).reshape(1, 1, 1, 1, 1)  # a probability as large as the smoothing
    assert RegionDiceFocalLoss(dice_weight=1)(half, torch.zeros(1, 1, 1, 1, 1)).item() == pytest.approx(0.5, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 5))
def test_is_never_negative_and_finite(seed, dice_weight, gamma):
    logits, target = example(size=4, seed=seed)
    loss = RegionDiceFocalLoss(dice_weight, gamma)(logits * 40, target)
    gradient = torch.autograd.grad(loss, logits)[0]
    assert loss >= 0 and torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype):
    """More true voxels than float16 can count."""
    logits = torch.full((1, 1, 64, 64, 64), 3.0, dtype=dtype)
    target = torch.ones(1, 1, 64, 64, 64, dtype=torch.bool)
    loss = RegionDiceFocalLoss()(logits, target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, RegionDiceFocalLoss()(logits.float(), target))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(RegionDiceFocalLoss()(logits, target), loss)


def test_bool_and_float_targets_are_the_same():
    logits, target = example()
    torch.testing.assert_close(RegionDiceFocalLoss()(logits, target), RegionDiceFocalLoss()(logits, target.float()))


@pytest.mark.parametrize("as_float", [True, False])
def test_ignored_voxels_do_not_count(as_float):
    logits, target = example()
    ignored = torch.rand(2, 1, 8, 8, 8) < 0.4
    loss = RegionDiceFocalLoss(use_ignore_label=True)
    with_ignore = torch.cat((target, ignored), 1)
    value = loss(logits, with_ignore.float() if as_float else with_ignore)
    # an independent way: only the voxels that count, laid out as one long line
    keep = ~ignored.expand_as(logits)
    kept = [logits.movedim(1, 0)[keep.movedim(1, 0)].reshape(1, 3, 1, 1, -1), target.movedim(1, 0)[keep.movedim(1, 0)]]
    expected = monai_loss(kept[0], kept[1].reshape(1, 3, 1, 1, -1))
    torch.testing.assert_close(value, expected)
    gradient = torch.autograd.grad(value, logits)[0]
    assert (gradient[ignored.expand_as(gradient)] == 0).all()


def test_all_voxels_ignored_is_finite():
    logits, target = example()
    loss = RegionDiceFocalLoss(use_ignore_label=True)(logits, torch.cat((target, torch.ones(2, 1, 8, 8, 8)), 1))
    assert torch.isfinite(loss)


def test_region_weights_average_the_regions():
    logits, target = example()
    each = [RegionDiceFocalLoss()(logits[:, [r]], target[:, [r]]) for r in range(3)]
    weighted = RegionDiceFocalLoss(region_weights=[1, 2, 5])(logits, target)
    torch.testing.assert_close(weighted, (each[0] + 2 * each[1] + 5 * each[2]) / 8)
    torch.testing.assert_close(RegionDiceFocalLoss(region_weights=[2, 2, 2])(logits, target), sum(each) / 3)


def test_a_wrong_number_of_channels_is_named():
    logits, target = example()
    with pytest.raises(ValueError, match="expected 4 target channels"):
        RegionDiceFocalLoss(use_ignore_label=True)(logits, target)


@pytest.mark.parametrize("settings_", [{"dice_weight": 1.1}, {"gamma": -1}, {"region_weights": [1, 0, 1]}])
def test_settings_out_of_range_are_refused(settings_):
    with pytest.raises(ValueError, match="must be a number"):
        RegionDiceFocalLoss(**settings_)


def test_too_few_region_weights_are_named():
    with pytest.raises(ValueError, match="expected 3 region_weights"):
        RegionDiceFocalLoss(region_weights=[1.0])(*example())


def test_head_weights_halve_and_sum_to_one():
    assert head_weights(3) == pytest.approx([4 / 7, 2 / 7, 1 / 7])  # D3
    assert head_weights(1) == [1]


def _ranked_example(with_ignore):
    logits, target = example(batch=3, size=6)
    if with_ignore:
        ignored = torch.rand(3, 1, 6, 6, 6, generator=torch.Generator().manual_seed(1)) < 0.3
        target = torch.cat((target, ignored), 1)
    return logits, target


def _rank(rank, folder, all_settings, samples):
    """Compute the loss of this rank's samples and the gradient that DDP would average, for each of the settings."""
    store = f"file://{folder}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    found = []
    for settings_ in all_settings:
        logits, target = _ranked_example(settings_["use_ignore_label"])
        mine = logits.detach()[samples[rank]].requires_grad_()
        loss = RegionDiceFocalLoss(**settings_)(mine, target[samples[rank]])
        loss.backward()
        found.append((loss.detach(), mine.grad / 2))
    torch.save(found, Path(folder) / f"{rank}.pt")
    os._exit(0)  # without taking the group apart, which sometimes waits for ever in PyTorch 2.6


def test_two_ranks_equal_the_joint_batch(tmp_path):
    """Two gloo ranks with one and two of three samples."""
    all_settings = [
        {"batch_dice": batch_dice, "use_ignore_label": with_ignore, "region_weights": [1, 2, 3]}
        for batch_dice, with_ignore in [(True, False), (True, True), (False, False)]
    ]
    multiprocessing.spawn(_rank, (str(tmp_path), all_settings, [[0], [1, 2]]), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for settings_, *of_ranks in zip(all_settings, *ranks, strict=True):
        logits, target = _ranked_example(settings_["use_ignore_label"])
        joint = RegionDiceFocalLoss(**settings_)(logits, target)
        joint.backward()
        for loss, _ in of_ranks:
            torch.testing.assert_close(loss, joint.detach())
        torch.testing.assert_close(torch.cat([gradient for _, gradient in of_ranks]), logits.grad)
