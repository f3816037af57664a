"""``resunet-ds models``: what is there, what it reaches, and what it costs."""

import json

import numpy as np
import pytest
from models import small_plans, write_model
from nnunetv2.evaluation.evaluate_predictions import save_summary_json

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.models import inventory
from nnunet_resunet_ds.models.inventory import known_models

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
