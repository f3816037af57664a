"""A model to pack, for the tests of packages and their cards."""

import json

import pytest
import torch
from models import small_plans, write_model

NAME = "ResUNetDSTrainer__nnUNetPlans__3d_fullres"


@pytest.fixture
def own(dataset, nnunet_folders):
    """A trained model of two folds, as nnU-Net leaves it."""
    plans, dataset_json, folder = dataset
    model = write_model(
        nnunet_folders / "nnUNet_results" / folder.name / NAME, small_plans(plans), dataset_json, (0, 1)
    )
    (model / "dataset_fingerprint.json").write_text("{}")
    for fold in ("fold_0", "fold_1"):
        file = model / fold / "checkpoint_final.pth"
        torch.save(torch.load(file) | {"resunet_ds": {"cases": {"train": ["secret_1"], "val": ["secret_2"]}}}, file)
        (model / fold / "validation").mkdir()
        metrics = {"(1, 2, 3)": {"Dice": 0.8}, "(2, 3)": {"Dice": 0.7}, "(3,)": {"Dice": 0.5}}
        content = {"metric_per_case": [{"metrics": metrics, "prediction_file": "secret.nii.gz"}]}
        (model / fold / "validation" / "summary.json").write_text(json.dumps(content))
        (model / fold / "progress.png").touch()
    return model
