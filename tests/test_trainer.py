"""The trainer's decisions, on plans made up here; the stock commands run it for real in test_demo."""

import inspect
import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from nnunetv2.preprocessing.normalization import default_normalization_schemes
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from trainers import small, trainer

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.training.planning.adapted_plans import MASKED_SCHEME, with_res_unet_ds
from nnunet_resunet_ds.training.planning.recipe import Recipe


def test_stock_plans_train_the_paper_s_network_and_recipe(dataset):
    made = trainer(dataset)
    configuration = made.plans_manager.get_configuration("3d_fullres")
    assert configuration.patch_size == [128, 128, 128]
    assert configuration.batch_dice is True
    assert configuration.network_arch_class_name == "nnunet_resunet_ds.network.ResUNetDS"
    assert (made.initial_lr, made.weight_decay, made.num_epochs, made.num_iterations_per_epoch) == (
        1e-4,
        1e-5,
        300,
        250,
    )
    assert made.plans_manager.plans["resunet_ds"] == Recipe().to_mapping()  # what is saved as plans.json
    assert dataset[0]["configurations"]["3d_fullres"]["patch_size"] == [128, 160, 112]


def test_the_choices_are_in_the_log(dataset):
    text = log_of(trainer(dataset, small(dataset[0], recipe={"epochs": 3})))
    assert "The plans are ours and used as written." in text and "epochs=3" in text
    assert "7 of the 7 stages asked for fit" in log_of(trainer(dataset))


def test_the_recipe_of_the_plans_is_obeyed(dataset):
    recipe = {"epochs": 3, "iterations_per_epoch": 4, "val_iterations_per_epoch": 2, "initial_lr": 0.01}
    recipe["weight_decay"] = 0.1
    made = trainer(dataset, small(dataset[0], recipe=recipe))
    assert (made.num_epochs, made.num_iterations_per_epoch, made.num_val_iterations_per_epoch) == (3, 4, 2)
    assert (made.initial_lr, made.weight_decay) == (0.01, 0.1)


def test_the_optimiser_is_adam_over_all_parameters(dataset):
    made = trainer(dataset, small(dataset[0]))
    made.network = torch.nn.Linear(2, 2)
    optimizer, _ = made.configure_optimizers()
    assert type(optimizer) is torch.optim.Adam  # D7
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"], len(group["params"])) == (1e-4, 1e-5, 2)


def test_targets_fit_the_heads_and_are_nearest_neighbours(dataset):
    made = trainer(dataset, small(dataset[0]))
    manager = made.configuration_manager
    network = made.build_network_architecture(made.plans_manager, manager, 4, 3, enable_deep_supervision=True)
    heads = network(torch.zeros(2, 4, 16, 16, 16))
    labels = torch.randint(0, 2, (3, 16, 16, 16), dtype=torch.uint8).bool()
    targets = DownsampleSegForDSTransform(made._get_deep_supervision_scales())(segmentation=labels)["segmentation"]
    assert [t.shape for t in targets] == [h.shape[1:] for h in heads]
    assert all(t.dtype == torch.bool for t in targets)  # D3: nearest neighbour, no averages
    loss = made._build_loss()(heads, [t.expand(2, *t.shape) for t in targets])
    assert loss.item() > 0


def test_the_loss_is_the_recipe_s_over_three_weighted_heads(dataset):
    plans = with_res_unet_ds(
        dataset[0], "3d_fullres", recipe={"dice_weight": 0.6, "gamma": 1.5, "region_weights": (1, 1, 2)}
    )
    loss = trainer(dataset, plans.plans)._build_loss()
    assert loss.weight_factors == pytest.approx((4 / 7, 2 / 7, 1 / 7))  # D3
    assert (loss.loss.dice_weight, loss.loss.gamma, loss.loss.batch_dice) == (0.6, 1.5, True)  # D6
    assert loss.loss.region_weights.tolist() == [0.25, 0.25, 0.5]  # D13


def test_an_ignore_label_reaches_the_loss(dataset):
    ignoring = deepcopy(dataset[1])
    ignoring["labels"]["ignore"] = 4
    assert trainer(dataset, dataset_json=ignoring)._build_loss().loss.use_ignore_label
    assert not trainer(dataset)._build_loss().loss.use_ignore_label


def test_without_deep_supervision_there_is_one_loss_and_no_scales(dataset):
    made = trainer(dataset)
    made.enable_deep_supervision = False
    assert made._get_deep_supervision_scales() is None
    assert type(made._build_loss()).__name__ == "RegionDiceFocalLoss"


def spoil(dataset, **settings):
    plans = deepcopy(dataset[0])
    plans["configurations"]["3d_fullres"].update(settings)
    return plans


def test_a_two_dimensional_configuration_is_refused(dataset):
    with pytest.raises(InputError, match=r"2d is 2-D .* use 3d_fullres"):
        trainer(dataset, configuration="2d")
    with pytest.raises(InputError, match="2-D"):
        with_res_unet_ds(dataset[0], "2d")


def test_labels_without_regions_are_refused(dataset):
    plain = {**dataset[1], "labels": {"background": 0, "ED": 1, "NCR": 2, "ET": 3}}
    with pytest.raises(InputError, match="resunet-ds convert"):
        trainer(dataset, dataset_json=plain)
    with pytest.raises(InputError, match="regions_class_order"):
        trainer(dataset, dataset_json={k: v for k, v in dataset[1].items() if k != "regions_class_order"})


def with_regions(dataset, regions, order):
    labels = {"background": 0} | {f"region {number}": region for number, region in enumerate(regions)}
    return {**dataset[1], "labels": labels, "regions_class_order": order}


@pytest.mark.parametrize(
    ("regions", "order", "message"),
    [
        ([[3], [2, 3], [1, 2, 3]], [1, 2, 3], "no regions_class_order is right"),
        ([[1, 2, 3], [2, 3], [3]], [2, 1, 3], r"make it \[1, 2, 3\]"),
        ([[1, 1]], [2], r"make it \[1\]"),
    ],
    ids=["ET first", "another order", "of no label"],
)
def test_regions_that_are_painted_with_other_labels_are_refused(dataset, regions, order, message):
    with pytest.raises(InputError, match=message):
        trainer(dataset, dataset_json=with_regions(dataset, regions, order))


@pytest.mark.parametrize(
    ("regions", "order"),
    [
        ([[1, 1]], [1]),
        ([[1, 2, 3], [2, 3]], [1, 2]),
        ([[1, 2, 3], [3], [2]], [1, 3, 2]),
        ([[1, 2], [3, 3]], [1, 3]),
        ([[1, 2, 3], [2, 3], [3], 4], [1, 2, 3, 4]),
        ([[1, 2, 3, 4], [2, 3, 4], [3], 4], [1, 2, 3, 4]),
    ],
    ids=["GTV", "two", "not nested", "apart", "RC", "CC"],
)
def test_any_regions_make_heads_targets_and_a_loss(dataset, regions, order):
    weights = list(range(1, len(regions) + 1))
    plans = small(dataset[0], recipe={"region_weights": weights})
    made = trainer(dataset, plans, dataset_json=with_regions(dataset, regions, order))
    n = made.label_manager.num_segmentation_heads
    assert n == len(regions)
    network = made.build_network_architecture(made.plans_manager, made.configuration_manager, 4, n, True)
    heads = network(torch.randn(2, 4, 16, 16, 16))
    targets = [torch.rand(head.shape) > 0.5 for head in heads]
    assert {head.shape[1] for head in heads} == {n} and made._build_loss()(heads, targets).item() > 0
    assert made.region_loss.region_weights.tolist() == pytest.approx([weight / sum(weights) for weight in weights])


def test_the_dataset_of_nnunet_s_own_script_is_accepted(dataset):
    """As written by nnunetv2.dataset_conversion.Dataset137_BraTS21."""
    labels = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}
    trainer(dataset, dataset_json={**dataset[1], "labels": labels, "regions_class_order": [1, 2, 3]})


def log_of(made):
    return Path(made.log_file).read_text()


UNMARKED = [
    {"use_mask_for_norm": [False] * 4},
    {"use_mask_for_norm": [True, True, False, True]},
    {"normalization_schemes": ["CTNormalization"] * 4},
    {"normalization_schemes": ["ZScoreNormalization"] * 3 + ["NoNormalization"]},
]


@pytest.mark.parametrize("settings", UNMARKED)
def test_where_nothing_marks_the_brain_the_network_goes_without_the_channel(dataset, settings):
    """As nnU-Net plans for whole heads."""
    made = trainer(dataset, spoil(dataset, **settings))
    assert made.configuration_manager.network_arch_init_kwargs["salient_channel"] is False
    saved = made.plans_manager.plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    assert saved["salient_channel"] is False  # what plans.json of the model will say
    (line,) = [line for line in log_of(made).splitlines() if "salient channel" in line]
    assert "The network gets no salient channel: channel" in line and "use_mask_for_norm" in line


@pytest.mark.parametrize("settings", UNMARKED)
def test_plans_of_ours_lose_the_channel_there_and_nothing_else(dataset, settings):
    plans = small(dataset[0], recipe={"epochs": 3})
    assert trainer(dataset, plans).configuration_manager.network_arch_init_kwargs["salient_channel"] is True
    plans["configurations"]["3d_fullres"].update(settings)
    found = trainer(dataset, plans).plans_manager.plans
    expected = deepcopy(plans)
    expected["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["salient_channel"] = False
    assert found["configurations"] == expected["configurations"] and found["resunet_ds"]["epochs"] == 3
    assert "gets no salient channel" in log_of(trainer(dataset, plans))
    assert "The plans are ours and used as written." in log_of(trainer(dataset, expected))


def test_a_masked_scheme_is_nnunet_s():
    schemes = [kind for kind in vars(default_normalization_schemes).values() if isinstance(kind, type)]
    masked = [
        kind.__name__
        for kind in schemes
        if getattr(kind, "leaves_pixels_outside_mask_at_zero_if_use_mask_for_norm_is_true", None)
    ]
    assert masked == [MASKED_SCHEME]


def test_resampled_cases_train_and_the_log_counts_them(dataset):
    """Decision D4."""
    assert "resampled" not in log_of(trainer(dataset))
    fingerprint = {"spacings": [[1.0, 1.0, 1.0], [1.02, 1.0, 1.0]], "shapes_after_crop": [[135, 163, 137]] * 2}
    (dataset[2] / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    made = trainer(dataset)
    (line,) = [line for line in log_of(made).splitlines() if "resampled" in line]
    assert "1 of 2 cases are resampled, for example from 1.02 × 1 × 1 to 1 × 1 × 1 mm" in line
    assert made.configuration_manager.network_arch_init_kwargs["salient_channel"] is True


def test_the_transposed_axis_is_the_one_compared(dataset):
    """Spacing in the plans is in nnU-Net's transposed order, in the fingerprint it is not."""
    fingerprint = {"spacings": [[1.0, 1.0, 2.0]], "shapes_after_crop": [[135, 163, 40]]}
    (dataset[2] / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    plans = spoil(dataset, spacing=[2.0, 1.0, 1.0])
    plans.update(transpose_forward=[2, 0, 1], transpose_backward=[1, 2, 0])
    assert "resampled" not in log_of(trainer(dataset, plans))
    plans["configurations"]["3d_fullres"]["spacing"] = [1.0, 1.0, 1.0]
    assert "1 of 1 cases are resampled, for example from 2 × 1 × 1 to 1 × 1 × 1 mm" in log_of(trainer(dataset, plans))


def test_region_weights_must_match_the_regions(dataset):
    plans = with_res_unet_ds(dataset[0], "3d_fullres", recipe={"region_weights": (1, 2)}).plans
    with pytest.raises(InputError, match=r"2 region_weights.*3 regions"):
        trainer(dataset, plans)


def test_a_bad_recipe_in_the_plans_stops_the_trainer(dataset):
    plans = small(dataset[0])
    plans["resunet_ds"]["epochs"] = 0
    with pytest.raises(InputError, match="epochs must be a whole number of at least 1"):
        trainer(dataset, plans)


def test_refusing_leaves_no_model_folder(dataset, nnunet_folders):
    with pytest.raises(InputError):
        trainer(dataset, configuration="2d")
    assert list((nnunet_folders / "nnUNet_results").iterdir()) == []


def test_nnunet_still_has_what_we_override():
    """A canary: these are nnU-Net's internals, and a release that renames them must fail here, not in training."""
    stock = inspect.signature(nnUNetTrainer.__init__).parameters
    assert list(stock) == ["self", "plans", "configuration", "fold", "dataset_json", "device"]
    for name in ("_get_deep_supervision_scales", "_build_loss", "configure_optimizers"):
        assert list(inspect.signature(getattr(nnUNetTrainer, name)).parameters) == ["self"]
