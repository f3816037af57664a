"""Loss and Dice of each head, against counting by hand; the table and the picture."""

import csv

import numpy as np
import pytest
import torch
from matplotlib.image import imread, imsave

from nnunet_resunet_ds.loss import RegionDiceFocalLoss
from nnunet_resunet_ds.training.fold.head_metrics import HEAD_LOSSES, head_dice, head_statistics
from nnunet_resunet_ds.training.fold.heads_panel import add_heads_panel
from nnunet_resunet_ds.training.fold.heads_table import write_heads_table


def batch(seed=0, ignore=False):
    torch.manual_seed(seed)
    sizes = (8, 4)
    logits = [torch.randn(2, 3, size, size, size) for size in sizes]
    targets = [torch.rand(2, 3 + ignore, size, size, size) > 0.6 for size in sizes]
    return logits, targets


@pytest.mark.parametrize("ignore", [False, True])
def test_each_head_is_counted_by_itself(ignore):
    logits, targets = batch(ignore=ignore)
    loss = RegionDiceFocalLoss(use_ignore_label=ignore)
    found = head_statistics(logits, targets, loss, has_ignore_label=ignore)
    for head in range(2):
        predicted = torch.sigmoid(logits[head]) > 0.5
        counts = ~targets[head][:, -1:] if ignore else torch.ones_like(targets[head][:, :1])
        true = targets[head][:, :3]
        for region in range(3):
            here = counts[:, 0] & predicted[:, region], counts[:, 0] & true[:, region]
            assert found["tp"][head, region] == (here[0] & here[1]).sum()
            assert found["fp"][head, region] == (here[0] & ~here[1]).sum()
            assert found["fn"][head, region] == (~here[0] & here[1]).sum()
        assert found[HEAD_LOSSES][head] == pytest.approx(loss(logits[head], targets[head]).item())


def test_dice_leaves_out_regions_that_are_nowhere():
    counts = {"tp": [[3.0, 0.0], [0.0, 0.0]], "fp": [[1.0, 0.0], [0.0, 0.0]], "fn": [[1.0, 0.0], [0.0, 0.0]]}
    dice = head_dice({name: np.array(values) for name, values in counts.items()})
    assert dice[0] == pytest.approx(6 / 8)
    assert np.isnan(dice[1])


def test_the_table_has_a_row_an_epoch(tmp_path):
    write_heads_table(tmp_path / "heads.csv", [[0.5, 0.6, 0.7], [0.4, 0.5, 0.6]], [[0.1, 0.2, 0.3]] * 2, [0.55, 0.45])
    rows = list(csv.DictReader((tmp_path / "heads.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert [float(rows[1][f"loss_{head}"]) for head in (1, 2, 3)] == [0.4, 0.5, 0.6]
    assert (float(rows[0]["loss_total"]), float(rows[0]["dice_3"])) == (0.55, 0.3)


def test_the_panel_is_added_below(tmp_path):
    picture = tmp_path / "progress.png"
    stock = np.random.default_rng(0).integers(0, 255, (400, 1500, 3), dtype=np.uint8)
    imsave(picture, stock)
    add_heads_panel(picture, [[0.5, 0.6, 0.7], [0.4, 0.5, 0.6]], [[0.1, 0.2, 0.3], [0.3, 0.2, float("nan")]])
    extended = imread(picture)[..., :3]
    assert extended.shape[1] == 1500 and extended.shape[0] > 1500
    np.testing.assert_array_equal((extended[:400] * 255).round().astype(np.uint8), stock)
    assert len(np.unique(extended[400:].reshape(-1, 3), axis=0)) > 50
