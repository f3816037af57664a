"""Cohorts that BraTS did not have before, by the very commands: mixed spacings, and whole heads in noise."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import write
from stock_runs import run, run_here

from nnunet_resunet_ds.demo.phantom import make_phantom

pytestmark = pytest.mark.long

PLAN = (
    "--patch-size", "16", "16", "16", "--features", "4", "8", "12", "--epochs", "2", "--iterations", "4",
    "--val-iterations", "2", "--lr", "1e-2", "--seed", "0",
)  # fmt: skip
MODEL = ("-d", "137", "-c", "3d_fullres", "-f", "0", "-p", "Tiny", "-device", "cpu")
TRAINING, NEW = [f"case_{number}" for number in range(5)], ["new_0", "new_1"]
LPS, RAS = (1, 0, 0, 0, 1, 0, 0, 0, 1), (-1, 0, 0, 0, -1, 0, 0, 0, 1)
SPACINGS = {
    "case_1": (1.0, 1.0, 1.5), "case_3": (0.9, 0.9, 2.0), "new_0": (0.86, 0.86, 1.5), "new_1": (1.0, 1.0, 1.02)
}  # fmt: skip
"""Of some cases, in the order of the header; all others have 1 mm."""


def mixed_spacings(folder, case, seed):
    """Half of the new cases are stored in another orientation, too."""
    phantom = make_phantom(seed)
    direction = RAS if case == "new_1" else LPS
    write_case(folder, case, phantom.images, phantom.labels, SPACINGS.get(case, (1.0, 1.0, 1.0)), direction)


def whole_heads(folder, case, seed):
    """No voxel is 0: noise lies around the head, as where images are defaced and not skull-stripped."""
    phantom = make_phantom(seed)
    noise = np.random.default_rng(seed).integers(5, 200, phantom.images.shape)
    images = np.where(phantom.images == 0, noise, phantom.images)
    write_case(folder, case, images, phantom.labels, (1.0, 1.0, 1.0), LPS)


def write_case(folder, case, images, labels, spacing, direction):
    """Write a phantom of half the resolution by nnU-Net's names."""
    kind = "Ts" if case in NEW else "Tr"
    for channel, values in enumerate([*images, labels]):
        image = sitk.GetImageFromArray(values[::2, ::2, ::2].astype(np.int16 if channel < 4 else np.uint8))
        image.SetDirection(direction)
        name = f"images{kind}/{case}_{channel:04d}" if channel < 4 else f"labels{kind}/{case}"
        write(folder / f"{name}.nii.gz", image, spacing=spacing)


COHORTS = {"mixed spacings": mixed_spacings, "whole heads": whole_heads}


@pytest.fixture(scope="module", params=COHORTS)
def way(request, tmp_path_factory):
    """Plan, train and predict: (name of the cohort, folder, what training printed, what planning printed)."""
    folder = tmp_path_factory.mktemp("way")
    raw = folder / "raw" / "Dataset137_Other"
    for seed, case in enumerate([*TRAINING, *NEW]):
        COHORTS[request.param](raw, case, seed)
    content = {
        "channel_names": {"0": "T1", "1": "T1ce", "2": "T2", "3": "FLAIR"},
        "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]},
        "regions_class_order": [1, 2, 3], "numTraining": len(TRAINING), "file_ending": ".nii.gz",
    }  # fmt: skip
    (raw / "dataset.json").write_text(json.dumps(content))
    variables = {f"nnUNet_{kind}": str(folder / kind) for kind in ("raw", "preprocessed", "results")}
    environment = {**os.environ, **variables, "nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "0"}
    nnunet = {**environment, "nnUNet_n_proc_DA": "1"}  # its planner and its prediction do not take 0
    images = str(raw / "imagesTs")
    run(nnunet, "nnUNetv2_plan_and_preprocess", "-d", "137", "-c", "3d_fullres", "-npfp", "1", "-np", "1")
    planned = run_here(variables, "plan", "-d", "137", "--name", "Tiny", *PLAN)
    trained = run(environment, "nnUNetv2_train", "137", "3d_fullres", "0", "-tr", "ResUNetDSTrainer", *MODEL[6:])
    run_here(
        variables, "predict", "-i", images, "-o", str(folder / "ours"), *MODEL, "--average", "logits",
        "--preset", "nnunet",
    )  # fmt: skip
    run(
        nnunet, "nnUNetv2_predict", "-i", images, "-o", str(folder / "stock"), "-tr", "ResUNetDSTrainer", *MODEL,
        "-npp", "1", "-nps", "1",
    )  # fmt: skip
    return request.param, folder, trained, planned


def plans_of(folder):
    model = folder / "results" / "Dataset137_Other" / "ResUNetDSTrainer__Tiny__3d_fullres"
    return json.loads((model / "plans.json").read_text())["configurations"]["3d_fullres"]


def test_nnunet_plans_what_the_cohort_is_for(way):
    """Else this would test nothing."""
    name, folder, *_ = way
    plans = plans_of(folder)
    assert plans["use_mask_for_norm"] == [name == "mixed spacings"] * 4
    assert plans["spacing"] == [1.0, 1.0, 1.0]


def test_the_log_says_what_is_other_in_one_line(way):
    name, folder, trained, planned = way
    no_channel = [line for line in trained.splitlines() if "gets no salient channel" in line]
    resampled = [line for line in trained.splitlines() if "cases are resampled" in line]
    if name == "mixed spacings":
        assert len(resampled) == 1 and "2 of 5 cases are resampled, for example from 1.5 × 1 × 1 to" in resampled[0]
        assert not no_channel
    else:
        assert not resampled and "gets no salient channel" in planned
    assert plans_of(folder)["architecture"]["arch_kwargs"]["salient_channel"] is (name == "mixed spacings")
    assert "Validation complete" in trained


@pytest.mark.parametrize("case", NEW)
@pytest.mark.parametrize("by", ["ours", "stock"])
def test_label_maps_lie_on_the_grid_of_each_image(way, by, case):
    _, folder, *_ = way
    image = sitk.ReadImage(str(folder / "raw" / "Dataset137_Other" / "imagesTs" / f"{case}_0000.nii.gz"))
    label_map = sitk.ReadImage(str(folder / by / f"{case}.nii.gz"))
    assert label_map.GetSize() == image.GetSize()
    for name in ("Spacing", "Origin", "Direction"):
        assert getattr(label_map, f"Get{name}")() == pytest.approx(getattr(image, f"Get{name}")(), abs=1e-6)
    assert set(np.unique(sitk.GetArrayFromImage(label_map))) <= {0, 1, 2, 3}


def test_ours_and_stock_nnunet_agree(way):
    """Where images are resampled, ours sets the background back to 0 before the network, and stock does not."""
    _, folder, *_ = way
    maps = [
        [sitk.GetArrayFromImage(sitk.ReadImage(str(Path(folder, by, f"{case}.nii.gz")))) for case in NEW]
        for by in ("ours", "stock")
    ]
    assert all((mine == other).mean() > 0.98 for mine, other in zip(*maps, strict=True))
    assert any(labels.any() for labels in maps[0])
