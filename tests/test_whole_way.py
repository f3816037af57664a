"""The way of the README in short, by the very commands: two epochs of a tiny network on five small phantoms."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import MODALITIES, values_of, write
from stock_runs import run

from nnunet_resunet_ds.demo.phantom import make_phantom

TRAINING = [f"BraTS2021_{number:05d}" for number in range(5)]
NEW = "BraTS2021_00900"
MODEL = ("-d", "137", "-c", "3d_fullres", "-f", "0", "-p", "Tiny", "-device", "cpu")
PLAN = ("--patch-size", "16", "16", "16", "--features", "4", "8", "12", "--epochs", "2", "--iterations", "4",
        "--val-iterations", "2", "--lr", "1e-2", "--seed", "0")  # fmt: skip


def write_phantom(folder, truth, case, seed):
    """Write a phantom of half the resolution in the layout of BraTS 2021."""
    phantom = make_phantom(seed)
    for modality, image in zip(MODALITIES, phantom.images, strict=True):
        write(folder / case / f"{case}_{modality}.nii.gz", image[::2, ::2, ::2])
    raw = np.array([0, 2, 1, 4], np.uint8)[phantom.labels[::2, ::2, ::2]]
    write(truth / f"{case}_seg.nii.gz", raw)


@pytest.fixture(scope="module")
def way(tmp_path_factory):
    """Go the whole way: (folder, what each command printed)."""
    folder = tmp_path_factory.mktemp("way")
    for seed, case in enumerate(TRAINING):
        write_phantom(folder / "train", folder / "train" / case, case, seed)
    write_phantom(folder / "new", folder / "truth", NEW, 900)
    variables = {f"nnUNet_{kind}": str(folder / kind) for kind in ("raw", "preprocessed", "results")}
    environment = {**os.environ, **variables, "nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "0"}
    planning = {**environment, "nnUNet_n_proc_DA": "1"}  # nnU-Net's planner does not take 0
    new, truth, ours, stock = (str(folder / name) for name in ("new", "truth", "ours", "stock"))
    images = str(folder / "raw" / "Dataset137_BraTS2021" / "imagesTs")
    commands = [
        (environment, "resunet-ds", "convert", str(folder / "train"), new, "-d", "137"),
        (planning, "nnUNetv2_plan_and_preprocess", "-d", "137", "-c", "3d_fullres", "-npfp", "1", "-np", "1"),
        (environment, "resunet-ds", "plan", "-d", "137", "--name", "Tiny", *PLAN),
        (environment, "nnUNetv2_train", "137", "3d_fullres", "0", "-tr", "ResUNetDSTrainer", *MODEL[6:]),
        (environment, "resunet-ds", "predict", "-i", new, "-o", ours, *MODEL, "--average", "logits",
         "--precision", "fp32"),
        (planning, "nnUNetv2_predict", "-i", images, "-o", stock, "-tr", "ResUNetDSTrainer", *MODEL,
         "--save_probabilities", "-npp", "1", "-nps", "1"),
        (environment, "resunet-ds", "postprocess", "-i", stock, "-o", str(folder / "labels")),
        (environment, "resunet-ds", "evaluate", "-ref", truth, "-pred", ours, "-o", str(folder / "metrics.json")),
        (environment, "resunet-ds", "report", "-i", new, "-pred", ours, "-ref", truth, "-o", str(folder / "page.html")),
    ]  # fmt: skip
    return folder, [run(*command) for command in commands]


def test_training_leaves_a_model_that_says_what_it_is(way):
    fold = way[0] / "results" / "Dataset137_BraTS2021" / "ResUNetDSTrainer__Tiny__3d_fullres" / "fold_0"
    assert (fold / "checkpoint_final.pth").is_file() and len((fold / "heads.csv").read_text().splitlines()) == 3
    assert json.loads((fold.parent / "plans.json").read_text())["resunet_ds"]["epochs"] == 2


def test_our_prediction_is_that_of_the_stock_commands_where_both_average_logits(way):
    ours, stock = (values_of(way[0] / name / f"{NEW}.nii.gz") for name in ("ours", "labels"))
    assert set(np.unique(ours)) <= {0, 1, 2, 3} and (ours > 0).any()
    # nnU-Net adds up in fp16, and its weights vanish in the corners of the volume: this network is unsure there, too
    assert (ours == stock).mean() > 0.997


def test_label_maps_lie_where_the_images_do(way):
    label_map = sitk.ReadImage(str(way[0] / "ours" / f"{NEW}.nii.gz"))
    image = sitk.ReadImage(str(way[0] / "new" / NEW / f"{NEW}_t1.nii.gz"))
    for name in ("Size", "Spacing", "Origin", "Direction"):
        assert getattr(label_map, f"Get{name}")() == getattr(image, f"Get{name}")()


def test_metrics_are_those_of_the_label_maps(way):
    folder = way[0]
    metrics = json.loads((folder / "metrics.json").read_text())
    truth = values_of(folder / "truth" / f"{NEW}_seg.nii.gz") > 0
    tumour = values_of(folder / "ours" / f"{NEW}.nii.gz") > 0
    dice = 2 * (truth & tumour).sum() / (truth.sum() + tumour.sum())
    assert metrics["summary"]["WT"]["dice"]["mean"] == pytest.approx(dice)
    assert NEW in Path(folder, "page.html").read_text()
