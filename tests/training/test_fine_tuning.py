"""Plans and weights for a training that starts from a trained model."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from models import small_plans, stock_plans, write_model
from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.nnunet_folders import nnunet_folder
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.training.checkpoint.checkpoint_content import weights_identity
from nnunet_resunet_ds.training.checkpoint.checkpoints import read_checkpoint
from nnunet_resunet_ds.training.checks.fold_checks import check_other_folds


@pytest.fixture
def planned(dataset):
    """The preprocessed dataset with its stock plans."""
    plans, _, folder = dataset
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    (folder / "nnUNetPlans_3d_fullres").mkdir()
    (folder / "nnUNetPlans_3d_fullres" / "case.b2nd").touch()  # by its ending nnU-Net knows how to read
    return folder


def fine_tune(model, *flags):
    return main(["plan", "-d", "137", "--name", "FineTuned", "--pretrained", str(model), *flags])


def change_json(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def configuration(file):
    return json.loads(file.read_text())["configurations"]["3d_fullres"]


def test_the_plans_have_the_network_of_the_model_and_name_its_weights(model, planned, capsys):
    assert fine_tune(model, "--lr", "1e-3", "--schedule", "poly", "--batch-size", "3") == 0
    said = capsys.readouterr().out
    assert "next: nnUNetv2_train 137 3d_fullres 0 -tr ResUNetDSTrainer -p FineTuned" in said
    assert "-pretrained_weights" not in said and "resunet-ds train -d 137 -p FineTuned" in said
    plans = configuration(planned / "FineTuned.json")
    trained = configuration(model / "plans.json")
    assert plans["architecture"] == trained["architecture"] and plans["patch_size"] == trained["patch_size"]
    assert plans["batch_size"] == 3
    content = json.loads((planned / "FineTuned.json").read_text())
    assert content["resunet_ds"] == {"initial_lr": 1e-3, "schedule": "poly"}
    weights = read_checkpoint(model / "fold_0" / "checkpoint_final.pth")["network_weights"]
    assert content["resunet_ds_pretrained"] == {
        "file": "FineTuned_pretrained.pth",
        "weights": weights_identity(weights),
        "model": model.name,
        "output_layers": True,
        "cases": [],
    }


def test_stock_nnunet_reads_the_same_weights_for_a_trainer_of_others(model, planned):
    assert fine_tune(model) == 0
    architecture = configuration(planned / "FineTuned.json")["architecture"]
    network = get_network_from_plans(
        architecture["network_class_name"], architecture["arch_kwargs"], [], 4, 5, deep_supervision=True
    )  # five regions: nnU-Net does not take the output layers
    load_pretrained_weights(network, planned / "FineTuned_pretrained.pth")
    expected = read_checkpoint(model / "fold_0" / "checkpoint_final.pth")["network_weights"]
    for name, values in network.state_dict().items():
        assert "seg_layers" in name or torch.equal(values, expected[name])


# ---- the trainer ----


def trainer_of(planned, fold=0):
    plans = json.loads((planned / "FineTuned.json").read_text())
    dataset_json = json.loads((planned / "dataset.json").read_text())
    return ResUNetDSTrainer(plans, "3d_fullres", fold, dataset_json, torch.device("cpu"))


def said_in_log(trainer):
    return Path(trainer.log_file).read_text()


@pytest.mark.parametrize("fold", [0, 3])
def test_every_fold_starts_from_the_weights_output_layers_included(model, planned, fold):
    assert fine_tune(model) == 0
    trainer = trainer_of(planned, fold)
    trainer.initialize()
    expected = read_checkpoint(model / "fold_0" / "checkpoint_final.pth")["network_weights"]
    for name, values in trainer.network.state_dict().items():
        assert torch.equal(values, expected[name]), name
    assert f"Starts from the weights of {model.name}, the output layers included" in said_in_log(trainer)


def test_with_other_regions_the_output_layers_alone_are_random(model, planned, capsys):
    change_json(model / "dataset.json", lambda content: content["labels"].update({"whole tumor": [1, 2]}))
    assert fine_tune(model) == 0
    assert "the output layers start at random" in capsys.readouterr().out
    trainer = trainer_of(planned)
    trainer.initialize()
    expected = read_checkpoint(model / "fold_0" / "checkpoint_final.pth")["network_weights"]
    same = {name: torch.equal(values, expected[name]) for name, values in trainer.network.state_dict().items()}
    assert all(is_same for name, is_same in same.items() if "seg_layers" not in name)
    assert not any(same[name] for name in same if "seg_layers" in name and name.endswith("weight"))


def test_a_checkpoint_counts_more_and_needs_no_pretrained_weights(model, planned, tmp_path):
    assert fine_tune(model) == 0
    first = trainer_of(planned)
    first.initialize()
    with torch.no_grad():
        for values in first.network.parameters():
            values.add_(1)
    Path(first.output_folder).mkdir(parents=True, exist_ok=True)
    first.save_checkpoint(str(Path(first.output_folder, "checkpoint_latest.pth")))
    (planned / "FineTuned_pretrained.pth").unlink()
    second = trainer_of(planned)
    second.load_checkpoint(str(Path(first.output_folder, "checkpoint_latest.pth")))
    for name, values in second.network.state_dict().items():
        assert torch.equal(values, first.network.state_dict()[name])


def test_what_the_command_line_gives_counts_more_but_for_the_output_layers(model, planned, tmp_path):
    assert fine_tune(model) == 0
    weights = read_checkpoint(model / "fold_0" / "checkpoint_final.pth")["network_weights"]
    other = tmp_path / "other.pth"
    torch.save({"network_weights": {name: values + 1 for name, values in weights.items()}}, other)
    trainer = trainer_of(planned)
    trainer.initialize()
    load_pretrained_weights(trainer.network, other)  # as nnUNetv2_train -pretrained_weights does
    for name, values in trainer.network.state_dict().items():
        assert torch.equal(values, weights[name] + (0 if "seg_layers" in name else 1))


SPOILT = {
    "weights to start from are gone": (
        lambda folder: (folder / "FineTuned_pretrained.pth").unlink(), "are not there; write both again",
    ),
    "other weights to start from": (
        lambda folder: torch.save(
            {"network_weights": {"a": torch.zeros(1)}}, folder / "FineTuned_pretrained.pth"
        ),
        "has other weights than the plans name",
    ),
    "damaged note of the weights to start from": (
        lambda folder: change_json(
            folder / "FineTuned.json", lambda plans: plans["resunet_ds_pretrained"].pop("weights")
        ),
        "the section resunet_ds_pretrained is damaged",
    ),
    "weights to start from in another folder": (
        lambda folder: change_json(
            folder / "FineTuned.json", lambda plans: plans["resunet_ds_pretrained"].update(file="../x.pth")
        ),
        "file in resunet_ds_pretrained",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", SPOILT)
def test_other_weights_than_the_plans_name_are_refused(model, planned, kind, bad_input):
    assert fine_tune(model) == 0
    spoil, answer = SPOILT[kind]
    spoil(planned)
    with pytest.raises(InputError, match=answer) as refused:
        trainer_of(planned).initialize()
    bad_input("nnUNetv2_train", kind, str(refused.value))


def test_folds_of_a_model_start_alike(model, planned, tmp_path):
    assert fine_tune(model) == 0
    folder = tmp_path / "trained"
    (folder / "fold_0").mkdir(parents=True)
    (folder / "fold_0" / "checkpoint_latest.pth").touch()
    fine_tuned = json.loads((planned / "FineTuned.json").read_text())
    (folder / "plans.json").write_text(json.dumps(fine_tuned))
    check_other_folds(folder / "fold_1", fine_tuned, "3d_fullres")
    at_random = {key: value for key, value in fine_tuned.items() if key != "resunet_ds_pretrained"}
    with pytest.raises(InputError, match=f"started from the weights of {model.name}, and plans FineTuned start from r"):
        check_other_folds(folder / "fold_1", at_random, "3d_fullres")
    (folder / "plans.json").write_text(json.dumps(at_random))
    with pytest.raises(InputError, match="started from random weights"):
        check_other_folds(folder / "fold_1", fine_tuned, "3d_fullres")


def test_plans_that_start_otherwise_do_not_take_the_place_of_those_of_a_model(model, planned, capsys):
    assert fine_tune(model) == 0
    own = nnunet_folder("nnUNet_results") / planned.name / "ResUNetDSTrainer__FineTuned__3d_fullres"
    (own / "fold_0").mkdir(parents=True)
    (own / "fold_0" / "checkpoint_final.pth").touch()
    shutil.copy(planned / "FineTuned.json", own / "plans.json")
    before = (planned / "FineTuned.json").read_bytes()
    assert fine_tune(model) == 0
    assert main(["plan", "-d", "137", "--name", "FineTuned", "--patch-size", "16", "16", "16"]) == 2
    assert (planned / "FineTuned.json").read_bytes() == before


# ---- what the plans leave out, and what they cannot be ----


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
    assert (
        "1 of the cases of this dataset, such as case_2, are training cases of the weights" in capsys.readouterr().out
    )


def test_another_spacing_is_named(model, planned, capsys):
    change_json(model / "plans.json", lambda plans: plans["configurations"]["3d_fullres"].update(spacing=[1.5] * 3))
    assert fine_tune(model) == 0
    said = capsys.readouterr().out
    again = "-overwrite_target_spacing 1.5 1.5 1.5 -overwrite_plans_name PlansOfPretrained"
    assert f"nnUNetv2_plan_and_preprocess -d 137 -c 3d_fullres {again}" in said
    assert "then: this command again, with -p PlansOfPretrained" in said


BAD = {
    "patch that does not fit": (lambda model, folder: None, ["--patch-size", "18", "16", "16"], "give multiples of"),
    "patch of one voxel at the deepest stage": (
        lambda model, folder: None, ["--patch-size", "4", "4", "4"], "and more than these",
    ),
    "another network asked for": (lambda model, folder: None, ["--heads", "1"], "--heads: the network is that of"),
    "no such model": (lambda model, folder: shutil.rmtree(model), [], "give starter, or the folder of a trained model"),
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


def test_a_model_that_was_fine_tuned_itself_brings_all_cases_that_it_has_seen(model, planned):
    checkpoint = read_checkpoint(model / "fold_0" / "checkpoint_final.pth")
    checkpoint["resunet_ds"] = {**checkpoint.get("resunet_ds", {}), "cases": {"train": ["second"], "val": ["other"]}}
    section = {
        "file": "first.pth",
        "weights": "x",
        "model": "first",
        "output_layers": True,
        "cases": ["first", "second"],
    }
    change_json(model / "plans.json", lambda plans: plans.update(resunet_ds_pretrained=section))
    torch.save(checkpoint, model / "fold_0" / "checkpoint_final.pth")
    assert fine_tune(model) == 0
    content = json.loads((planned / "FineTuned.json").read_text())
    assert content["resunet_ds_pretrained"]["cases"] == ["second", "first"]
