"""Plans and weights for a training that starts from a trained model."""

import json
import shutil

import pytest
import torch
from models import small_plans, stock_plans, write_model
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.training.checkpoints import read_checkpoint


@pytest.fixture
def planned(dataset):
    """The preprocessed dataset with its stock plans."""
    plans, _, folder = dataset
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    return folder


def fine_tune(model, *flags):
    return main(["plan", "-d", "137", "--name", "FineTuned", "--pretrained", str(model), *flags])


def change_json(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def configuration(file):
    return json.loads(file.read_text())["configurations"]["3d_fullres"]


def test_stock_nnunet_starts_from_the_weights_of_the_same_network(model, planned, capsys):
    assert fine_tune(model, "--lr", "1e-3", "--schedule", "poly", "--batch-size", "3") == 0
    said = capsys.readouterr().out
    weights = planned / "FineTuned_pretrained.pth"
    assert f"-p FineTuned -pretrained_weights {weights}" in said
    plans = configuration(planned / "FineTuned.json")
    trained = configuration(model / "plans.json")
    assert plans["architecture"] == trained["architecture"] and plans["patch_size"] == trained["patch_size"]
    assert plans["batch_size"] == 3
    recipe = json.loads((planned / "FineTuned.json").read_text())["resunet_ds"]
    assert recipe == {"initial_lr": 1e-3, "schedule": "poly"}
    architecture = plans["architecture"]
    network = get_network_from_plans(
        architecture["network_class_name"], architecture["arch_kwargs"], [], 4, 5, deep_supervision=True
    )  # five regions: the output layers are not taken
    load_pretrained_weights(network, weights)
    expected = read_checkpoint(model / "fold_0" / "checkpoint_final.pth")["network_weights"]
    for name, values in network.state_dict().items():
        assert "seg_layers" in name or torch.equal(values, expected[name])


def test_another_patch_may_be_given_if_it_fits(model, planned):
    assert fine_tune(model, "--patch-size", "24", "20", "16") == 0
    assert configuration(planned / "FineTuned.json")["patch_size"] == [24, 20, 16]


def test_training_cases_of_the_model_are_named(model, planned, capsys):
    file = model / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(file) | {"resunet_ds": {"cases": {"train": ["case_1", "case_2"], "val": []}}}, file)
    (planned / "gt_segmentations").mkdir()
    for number in (2, 3):
        (planned / "gt_segmentations" / f"case_{number}.nii.gz").touch()
    assert fine_tune(model) == 0
    assert "1 cases of this dataset, such as case_2, are training cases of the model" in capsys.readouterr().out


def test_another_spacing_is_named(model, planned, capsys):
    change_json(model / "plans.json", lambda plans: plans["configurations"]["3d_fullres"].update(spacing=[1.5] * 3))
    assert fine_tune(model) == 0
    assert "-overwrite_target_spacing 1.5 1.5 1.5" in capsys.readouterr().out


BAD = {
    "patch that does not fit": (lambda model, folder: None, ["--patch-size", "18", "16", "16"], "give multiples of"),
    "patch of one voxel at the deepest stage": (
        lambda model, folder: None, ["--patch-size", "4", "4", "4"], "and more than these",
    ),
    "another network asked for": (lambda model, folder: None, ["--heads", "1"], "--heads: the network is that of"),
    "no weights": (lambda model, folder: shutil.rmtree(model / "fold_0"), [], "no fold has checkpoint_final.pth"),
    "other channels": (
        lambda model, folder: change_json(
            folder / "dataset.json", lambda content: content["channel_names"].update({"0": "T2", "2": "T1"})
        ),
        [], "has the channels T2, T1ce, T1, FLAIR",
    ),
    "stock network": (
        lambda model, folder: change_json(
            model / "plans.json", lambda plans: plans.update(stock_plans(plans))
        ),
        [], "only models of ResUNetDS",
    ),
    "whole heads": (
        lambda model, folder: change_json(
            folder / "nnUNetPlans.json",
            lambda plans: plans["configurations"]["3d_fullres"].update(use_mask_for_norm=[False] * 4),
        ),
        [], "which this data has not",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_does_not_fit_is_refused(dataset, planned, tmp_path, capsys, kind, bad_input):
    spoil, flags, answer = BAD[kind]
    plans, dataset_json, _ = dataset
    model = write_model(tmp_path / "one", small_plans(plans), dataset_json)
    spoil(model, planned)
    assert fine_tune(model, *flags) == 2
    error = capsys.readouterr().err
    assert answer in error
    bad_input("plan", f"pretrained: {kind}", error)
    assert not (planned / "FineTuned_pretrained.pth").exists()
