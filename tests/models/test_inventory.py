"""``resunet-ds models``: what is there, what it reaches, and what it costs."""

import json

import numpy as np
import pytest
from models import small_plans, write_model
from nnunetv2.evaluation.evaluate_predictions import save_summary_json

from nnunet_resunet_ds.base.nnunet_folders import all_datasets, datasets_with_id
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.models import inventory
from nnunet_resunet_ds.models.inventory import known_models
from nnunet_resunet_ds.models.validation import validation_scores

NAME = "ResUNetDSTrainer__nnUNetPlans__3d_fullres"


@pytest.fixture
def own(dataset, nnunet_folders):
    """A trained model of two folds below $nnUNet_results."""
    plans, dataset_json, folder = dataset
    return write_model(nnunet_folders / "nnUNet_results" / folder.name / NAME, small_plans(plans), dataset_json, (0, 1))


def write_summary(model, fold, dice):
    """Write what nnU-Net's validation leaves: a list of Dice a region, in the order WT, TC, ET."""
    cases = [
        {"metrics": {(1, 2, 3): {"Dice": wt}, (2, 3): {"Dice": tc}, (3,): {"Dice": et}}, "prediction_file": ""}
        for wt, tc, et in dice
    ]
    (model / f"fold_{fold}" / "validation").mkdir()
    content = {"metric_per_case": cases, "mean": {}, "foreground_mean": {}}
    save_summary_json(content, model / f"fold_{fold}" / "validation" / "summary.json")


def test_dice_is_the_mean_over_the_cases_of_all_folds(own, dataset):
    write_summary(own, 0, [(0.9, 0.8, np.nan), (0.7, 0.6, 0.5)])
    write_summary(own, 1, [(0.8, 0.1, 0.3)])
    own_model = next(model for model in known_models() if model.folder == str(own))
    assert own_model.dice == pytest.approx({"WT": 0.8, "TC": 0.5, "ET": 0.4})


def test_folds_that_are_not_validated_are_named(own, capsys):
    write_summary(own, 0, [(0.9, 0.8, 0.7)])
    assert main(["models"]) == 0
    assert f"{own.parent.name}/{NAME}: Dice is without fold 1; validate it" in capsys.readouterr().out
    write_summary(own, 1, [(0.9, 0.8, 0.7)])
    assert main(["models"]) == 0
    assert "Dice is without" not in capsys.readouterr().out


def test_a_model_of_the_user_is_listed(own, capsys):
    assert main(["models", "--json"]) == 0
    *_, found = json.loads(capsys.readouterr().out)
    assert found["name"] == f"{own.parent.name}/{NAME}" and found["folds"] == ["0", "1"] and found["dice"] == {}
    size = (own / "fold_0" / "checkpoint_final.pth").stat().st_size
    assert found["n_cases"] == 5 and found["megabytes"] == round(2 * size / 1e6, 1)
    assert main(["models"]) == 0
    assert "not measured" in capsys.readouterr().out


def test_the_work_of_a_case_is_counted(own, dataset, monkeypatch):
    one = next(model for model in known_models() if model.folder == str(own))
    plans = json.loads((own / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["median_image_size_in_voxels"] = [32, 16, 16]  # three tiles of 16 for one
    (own / "plans.json").write_text(json.dumps(plans))
    monkeypatch.setattr(inventory, "round", lambda value, *_: value, raising=False)
    three = next(model for model in known_models() if model.folder == str(own))
    plans["configurations"]["3d_fullres"]["median_image_size_in_voxels"] = [16, 16, 16]
    (own / "plans.json").write_text(json.dumps(plans))
    single = next(model for model in known_models() if model.folder == str(own))
    assert three.tera_operations == pytest.approx(3 * single.tera_operations) and one.tera_operations > 0


def test_what_cannot_be_read_is_named_and_left_out(own, capsys):
    (own / "plans.json").write_text("{")
    assert main(["models"]) == 0
    assert f"{own}: is left out" in capsys.readouterr().err


def test_nnunet_s_validation_of_fold_all_is_of_training_cases_and_does_not_count(own):
    write_summary(own, 0, [(0.5, 0.5, 0.5)])
    (own / "fold_all").mkdir()
    write_summary(own, "all", [(0.99, 0.99, 0.99)])
    (own / "fold_all" / "checkpoint_final.pth").write_bytes((own / "fold_0" / "checkpoint_final.pth").read_bytes())
    found = next(model for model in known_models() if model.folder == str(own))
    assert found.folds == ("0", "1", "all") and found.dice == {"WT": 0.5, "TC": 0.5, "ET": 0.5}


def test_nor_does_the_validation_of_other_weights(own, dataset):
    write_summary(own, 0, [(0.5, 0.5, 0.5)])
    record = {"weights": "new", "validated": "old"}
    (own / "fold_0" / "run.json").write_text(json.dumps(record))
    assert validation_scores(own, dataset[1], ("0",)) == {}
    (own / "fold_0" / "run.json").write_text(json.dumps(record | {"validated": "new"}))
    assert validation_scores(own, dataset[1], ("0",))["WT"] == [0.5]
    (own / "fold_0" / "run.json").unlink()
    (own / "fold_0" / "checkpoint_final.pth").touch()
    assert validation_scores(own, dataset[1], ("0",)) == {}


def test_plans_that_name_no_layer_are_not_called(own, tmp_path, capsys):
    (tmp_path / "hubconf.py").write_text(f"open({str(tmp_path / 'harm')!r}, 'w')\ndef f(): pass")
    plans = json.loads((own / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["architecture"] = {
        "network_class_name": "torch.hub.load",
        "arch_kwargs": {"repo_or_dir": str(tmp_path), "model": "f", "source": "local"},
        "_kw_requires_import": [],
    }
    (own / "plans.json").write_text(json.dumps(plans))
    assert main(["models"]) == 0
    assert "is left out" in capsys.readouterr().err and not (tmp_path / "harm").exists()


def test_two_dimensional_models_are_not_listed(own, capsys):
    plans = json.loads((own / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["patch_size"] = [16, 16]
    (own / "plans.json").write_text(json.dumps(plans))
    assert main(["models", "--json"]) == 0
    said = capsys.readouterr()
    assert str(own) not in said.out and "left out" not in said.err


def test_datasets_have_three_digits_or_more(nnunet_folders):
    for name in ("Dataset137_BraTS2021", "Dataset1137_Large", "Dataset13_Short", "Dataset_None"):
        (nnunet_folders / "nnUNet_raw" / name).mkdir()
    assert [path.name for path in all_datasets("nnUNet_raw")] == ["Dataset1137_Large", "Dataset137_BraTS2021"]
    assert [path.name for path in datasets_with_id("nnUNet_raw", 1137)] == ["Dataset1137_Large"]
    assert [path.name for path in datasets_with_id("nnUNet_raw", 137)] == ["Dataset137_BraTS2021"]
