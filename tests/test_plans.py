import json
from contextlib import nullcontext
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_conversion.editions import EDITIONS
from dataset_conversion.write import write_dataset_json
from nnunet_resunet_ds.base.configurations import resolved_configuration
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.plans import NETWORK_CLASS_NAME, PAPER_FEATURES, fitted_strides, res_unet_ds_architecture
from nnunet_resunet_ds.training.checks.fold_checks import check_dataset_of_command
from nnunet_resunet_ds.training.planning.adapted_plans import obeyed_or_adapted, with_res_unet_ds
from nnunet_resunet_ds.training.planning.plan_writing import plan
from nnunet_resunet_ds.training.planning.recipe import Recipe

STOCK = {
    "dataset_name": "Dataset137_BraTS2021",
    "plans_name": "nnUNetPlans",
    "configurations": {
        "3d_fullres": {
            "data_identifier": "nnUNetPlans_3d_fullres",
            "patch_size": [128, 160, 112],
            "batch_size": 2,
            "batch_dice": False,
            "median_image_size_in_voxels": [135.0, 163.0, 137.0],
            "spacing": [1.0, 1.0, 1.0],
            "architecture": {"network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet"},
        },
        "bs5": {"inherits_from": "3d_fullres", "batch_size": 5},
        "circle": {"inherits_from": "circle"},
    },
}


def test_the_paper_patch_gives_seven_stages_and_three_heads():
    arch_kwargs = res_unet_ds_architecture((128, 128, 128))["arch_kwargs"]
    assert arch_kwargs["features_per_stage"] == [64, 96, 128, 192, 256, 384, 512]  # D1
    assert arch_kwargs["strides"] == [[1, 1, 1]] + [[2, 2, 2]] * 6
    assert arch_kwargs["n_heads"] == 3  # D3
    assert arch_kwargs["salient_channel"] and arch_kwargs["residual"]  # D2, D4


@pytest.mark.parametrize(
    ("patch_size", "n_stages", "n_heads"),
    [((64, 64, 64), 6, 3), ((16, 16, 16), 4, 3), ((8, 8, 8), 3, 2), ((4, 4, 4), 2, 1), ((128, 160, 112), 7, 3)],
)
def test_small_patches_keep_the_first_features(patch_size, n_stages, n_heads):
    arch_kwargs = res_unet_ds_architecture(patch_size)["arch_kwargs"]
    assert arch_kwargs["features_per_stage"] == list(PAPER_FEATURES[:n_stages])
    assert arch_kwargs["n_heads"] == n_heads


axis = st.integers(2, 300)


@given(st.tuples(axis, axis, axis), st.integers(1, 7))
def test_strides_divide_the_patch_and_leave_two_voxels(patch_size, max_stages):
    strides = fitted_strides(patch_size, max_stages)
    assert strides[0] == [1, 1, 1] and len(strides) <= max_stages
    axes = list(patch_size)
    for stride in strides[1:]:
        assert max(stride) == 2
        assert all(axis % step == 0 for axis, step in zip(axes, stride, strict=True))
        axes = [axis // step for axis, step in zip(axes, stride, strict=True)]
    assert min(axes) >= 2
    if len(strides) < max_stages:  # nothing more to halve
        assert all(axis % 2 or axis < 4 for axis in axes)


@pytest.mark.parametrize("patch_size", [(128, 128), (7, 9, 11), (2, 2, 2), (0, 64, 64), (-4, 64, 64), (1, 64, 64)])
def test_patches_that_fit_no_network_are_refused(patch_size):
    with pytest.raises(InputError, match=r"3-D network|fits one stage|at least 2"):
        res_unet_ds_architecture(patch_size)


def test_stock_plans_become_the_paper_s_and_are_not_changed_themselves():
    stock = deepcopy(STOCK)
    adapted = obeyed_or_adapted(stock, "3d_fullres").plans
    configuration = adapted["configurations"]["3d_fullres"]
    assert configuration["patch_size"] == [128, 128, 128]  # D7
    assert configuration["batch_size"] == 2
    assert configuration["batch_dice"] is True  # D6
    assert configuration["architecture"]["network_class_name"] == NETWORK_CLASS_NAME
    assert configuration["data_identifier"] == "nnUNetPlans_3d_fullres"  # the same preprocessed data
    assert stock == STOCK


def test_small_images_keep_the_stock_patch_with_a_line():
    stock = deepcopy(STOCK)
    stock["configurations"]["3d_fullres"]["median_image_size_in_voxels"] = [95.0, 163.0, 137.0]
    plans, notes = obeyed_or_adapted(stock, "3d_fullres")
    assert plans["configurations"]["3d_fullres"]["patch_size"] == [128, 160, 112]
    assert any("below 96" in note for note in notes)


def test_fitted_depth_is_told():
    _, notes = with_res_unet_ds(STOCK, "3d_fullres", patch_size=(64, 64, 64))
    assert "6 of the 7 stages asked for" in notes[0]


def test_adapting_twice_changes_nothing():
    once = obeyed_or_adapted(STOCK, "3d_fullres").plans
    assert obeyed_or_adapted(once, "3d_fullres").plans == once


def test_plans_with_our_section_are_obeyed():
    ours = with_res_unet_ds(STOCK, "3d_fullres", patch_size=(64, 96, 64), batch_size=3, recipe={"epochs": 7}).plans
    obeyed = obeyed_or_adapted(ours, "3d_fullres").plans
    assert obeyed == ours
    assert Recipe.from_plans(obeyed) == Recipe(epochs=7)


def test_plans_with_our_network_are_obeyed_without_a_section():
    ours = deepcopy(STOCK)
    arch = res_unet_ds_architecture((64, 64, 64), (4, 8, 12), residual=False, n_heads=2)
    ours["configurations"]["3d_fullres"]["architecture"] = arch
    assert obeyed_or_adapted(ours, "3d_fullres").plans == ours


def test_every_ablation_is_an_argument():
    plans = with_res_unet_ds(STOCK, "3d_fullres", residual=False, salient_channel=False, n_heads=1).plans
    arch_kwargs = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    assert (arch_kwargs["residual"], arch_kwargs["salient_channel"], arch_kwargs["n_heads"]) == (False, False, 1)


def test_a_network_is_planned_without_a_channel_that_nothing_marks():
    stock = deepcopy(STOCK)
    stock["configurations"]["3d_fullres"] |= {
        "normalization_schemes": ["ZScoreNormalization"] * 4, "use_mask_for_norm": [False] * 4
    }  # fmt: skip
    asked, not_asked = (with_res_unet_ds(stock, "3d_fullres", salient_channel=wish) for wish in (True, False))
    assert asked.plans == not_asked.plans
    arch_kwargs = asked.plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    assert arch_kwargs["salient_channel"] is False
    assert sum("gets no salient channel" in note for note in asked.notes) == 1
    assert not [note for note in not_asked.notes if "salient" in note]


def test_an_axis_is_halved_six_times_at_most():
    assert len(fitted_strides((512, 512, 512), 9)) == 7


def test_our_section_with_another_network_is_refused():
    with pytest.raises(InputError, match="resunet-ds plan"):
        obeyed_or_adapted({**STOCK, "resunet_ds": {}}, "3d_fullres")


def test_inherited_configurations_resolve():
    resolved = resolved_configuration(STOCK, "bs5")
    assert resolved["batch_size"] == 5 and resolved["patch_size"] == [128, 160, 112]
    adapted = obeyed_or_adapted(STOCK, "bs5").plans
    assert resolved_configuration(adapted, "bs5")["architecture"]["network_class_name"] == NETWORK_CLASS_NAME


@pytest.mark.parametrize("name", ["3d_lowres", "circle"])
def test_unusable_configurations_are_named(name):
    with pytest.raises(InputError, match=name):
        resolved_configuration(STOCK, name)


def test_the_recipe_defaults_are_the_paper_s():
    recipe = Recipe()
    assert (recipe.initial_lr, recipe.weight_decay, recipe.epochs) == (1e-4, 1e-5, 300)  # D7
    assert (recipe.dice_weight, recipe.gamma, recipe.region_weights) == (0.7, 2.0, None)  # D6, D13
    assert recipe.iterations_per_epoch == 250


recipes = st.builds(
    Recipe,
    epochs=st.integers(1, 1000),
    initial_lr=st.floats(1e-6, 1),
    dice_weight=st.floats(0, 1),
    region_weights=st.none() | st.lists(st.floats(0.1, 10), min_size=1).map(tuple),
)


@given(recipes)
def test_recipes_travel_through_json(recipe):
    plans = json.loads(json.dumps({"resunet_ds": recipe.to_mapping()}))
    assert Recipe.from_plans(plans) == recipe


@pytest.mark.parametrize(
    "section",
    [{"epoch": 3}, {"epochs": 0}, {"epochs": 2.5}, {"epochs": True}, {"initial_lr": -1}, {"initial_lr": "1e-4"},
     {"dice_weight": 1.1}, {"gamma": -1}, {"region_weights": [1, 0, 1]}, {"region_weights": 3}, [1], None],
)  # fmt: skip
def test_bad_recipes_are_refused(section):
    with pytest.raises(InputError, match="resunet_ds"):
        Recipe.from_plans({"resunet_ds": section})


def test_plan_writes_beside_the_stock_plans(nnunet_folders):
    folder = nnunet_folders / "nnUNet_preprocessed" / "Dataset137_BraTS2021"
    folder.mkdir()
    (folder / "nnUNetPlans.json").write_text(json.dumps(STOCK))
    write_dataset_json(folder, EDITIONS["2021"], n_training=5)
    path, _ = plan(137, patch_size=(32, 32, 32), features_per_stage=(8, 16, 24), recipe={"epochs": 4})
    written = json.loads(path.read_text())
    assert path == folder / "nnUNetResUNetDSPlans.json"
    assert written["plans_name"] == "nnUNetResUNetDSPlans"
    assert written["resunet_ds"] == {"epochs": 4}
    assert written["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"] == [8, 16, 24]
    assert json.loads((folder / "nnUNetPlans.json").read_text()) == STOCK
    assert sorted(p.name for p in folder.iterdir()) == ["dataset.json", "nnUNetPlans.json", "nnUNetResUNetDSPlans.json"]
    for name in ("../x", "", "a/b"):
        with pytest.raises(InputError, match="name of the plans"):
            plan(137, name=name)
    with pytest.raises(InputError, match="2 region_weights"):
        plan(137, recipe={"region_weights": (1, 2)})
    with pytest.raises(InputError, match=r"no such plans; there are nnUNetPlans, nnUNetResUNetDSPlans$"):
        plan(137, name="A", stock_name="Other")
    for content in ("[1]", "{}", '{"configurations": 3}'):
        (folder / "nnUNetPlans.json").write_text(content)
        with pytest.raises(InputError, match="not nnU-Net plans"):
            plan(137)


def test_plans_of_a_copied_dataset_are_refused(nnunet_folders):
    """nnU-Net reads and writes in the folders that plans name: those of the dataset that was copied."""
    folder = nnunet_folders / "nnUNet_preprocessed" / "Dataset138_Copy"
    folder.mkdir()
    write_dataset_json(folder, EDITIONS["2021"], n_training=5)
    (folder / "nnUNetPlans.json").write_text(json.dumps(STOCK))
    with pytest.raises(
        InputError, match=f"are plans of {STOCK['dataset_name']}, so a training would read and write th"
    ):
        plan(138)


@pytest.mark.parametrize(
    ("words", "is_refused"),
    [
        (["/bin/nnUNetv2_train", "138", "3d_fullres", "0"], True),
        (["nnUNetv2_train", "Dataset138_Copy", "3d_fullres", "0"], True),
        (["nnUNetv2_train", "137", "3d_fullres", "0"], False),
        (["nnUNetv2_train", "Dataset137_BraTS2021", "3d_fullres", "0"], False),
        (["nnUNetv2_train", "-h"], False),
        (["python", "138"], False),
        ([], False),
    ],
)
def test_the_command_must_name_the_dataset_of_the_plans(words, is_refused):
    plans = {"dataset_name": "Dataset137_BraTS2021", "plans_name": "nnUNetPlans"}
    with pytest.raises(InputError, match="in the folder of dataset") if is_refused else nullcontext():
        check_dataset_of_command(plans, words)


def test_plan_names_what_is_missing(nnunet_folders):
    with pytest.raises(InputError, match="no dataset with ID 137"):
        plan(137)
    (nnunet_folders / "nnUNet_preprocessed" / "Dataset137_BraTS2021").mkdir()
    with pytest.raises(InputError, match="nnUNetv2_plan_and_preprocess -d 137"):
        plan(137)
    with pytest.raises(InputError, match="overwrite"):
        plan(137, name="nnUNetPlans")
    with pytest.raises(InputError, match="batch size"):
        plan(137, batch_size=0)
