"""The main job, end to end, by the stock commands: one run of the demo, shared by all that is asked of it here."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from matplotlib.image import imread
from nnunetv2.run.run_training import get_trainer_from_args

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.demo.phantom import ANATOMY, make_phantom
from nnunet_resunet_ds.evaluation.dice import dice, mean_region_dice, region_dice
from postprocessing import PostprocessingConfig, postprocess

MODEL = "nnUNet_results/Dataset999_Phantoms/ResUNetDSTrainer__nnUNetResUNetDSPlans__3d_fullres"


def test_a_phantom_is_reproducible_and_has_what_brats_has():
    phantom = make_phantom(5)
    np.testing.assert_array_equal(phantom.images, make_phantom(5).images)
    assert phantom.images.shape == (4, *ANATOMY.shape) and phantom.images.dtype == np.int16
    assert np.unique(phantom.labels).tolist() == [0, 1, 2, 3]
    brain = phantom.images[0] != 0
    assert 0.1 < brain.mean() < 0.4
    assert ((phantom.images != 0) == brain).all()
    assert brain[phantom.labels > 0].all()
    assert 3 not in make_phantom(5, enhancing=False).labels


def test_dice_in_closed_form_and_for_empty_regions():
    one, two, none = (np.array(mask, dtype=bool) for mask in ([1, 0, 0], [1, 1, 0], [0, 0, 0]))
    assert dice(one, two) == dice(two, one) == pytest.approx(2 / 3)
    assert (dice(none, none), dice(one, none), dice(none, one)) == (1, 0, 0)
    labels = np.array([0, 1, 2, 3])
    assert region_dice(labels, np.array([0, 1, 2, 2])) == {"WT": 1, "TC": 1, "ET": 0}
    assert mean_region_dice([{"WT": 1, "TC": 0, "ET": 0}, {"WT": 0, "TC": 1, "ET": 0}]) == {
        "WT": 0.5,
        "TC": 0.5,
        "ET": 0,
    }


@pytest.mark.parametrize("beside", [[], ["phantoms", "nnUNet_raw"]])
def test_a_folder_of_somebody_else_is_left_alone(tmp_path, capsys, beside):
    (tmp_path / "thesis.tex").write_text("years of work")
    for name in beside:
        (tmp_path / name).mkdir()
    assert main(["demo", "-o", str(tmp_path)]) == 2
    assert "choose another folder" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.long
@pytest.mark.demo
def test_it_runs_the_stock_commands_in_order(demo):
    _, printed = demo
    commands = [line.split()[1] for line in printed.splitlines() if line.startswith("$ ") and "export" not in line]
    assert commands == [
        "resunet-ds", "nnUNetv2_plan_and_preprocess", "resunet-ds", "nnUNetv2_train", "nnUNetv2_predict", "resunet-ds",
        "resunet-ds", "resunet-ds", "resunet-ds", "resunet-ds",
    ]  # fmt: skip
    assert printed.count("-tr ResUNetDSTrainer") >= 2


@pytest.mark.long
@pytest.mark.demo
def test_it_learns_the_phantoms_but_not_by_heart(demo):
    folder, printed = demo
    summary = json.loads((folder / "summary.json").read_text())
    before, after, untrained = summary["dice"]["before"], summary["dice"]["after"], summary["untrained_dice"]
    assert 0.80 <= after["WT"] <= 0.97 and 0.80 <= before["WT"] <= 0.97
    assert before["ET"] < before["WT"] and after["ET"] < after["WT"]
    assert max(untrained.values()) < 0.3
    assert f"{after['WT']:.4f}" in printed and f"{untrained['WT']:.4f}" in printed
    assert summary["seconds"] > 0


@pytest.mark.long
@pytest.mark.demo
def test_it_leaves_a_picture(demo):
    picture = imread(demo[0] / "demo.png")
    assert min(picture.shape[:2]) > 300 and picture.std() > 0.1


@pytest.mark.long
@pytest.mark.demo
def test_it_leaves_the_metrics_and_a_report(demo):
    folder, printed = demo
    summary = json.loads((folder / "metrics.json").read_text())["summary"]
    after = json.loads((folder / "summary.json").read_text())["dice"]["after"]
    assert {region: summary[region]["dice"]["mean"] for region in after} == pytest.approx(after)
    page = (folder / "report.html").read_text()
    assert page.count('id="pictures-') == 4 and "http:" not in page and "https:" not in page
    assert f"open in a browser: {folder / 'report.html'}" in printed


@pytest.mark.long
@pytest.mark.demo
def test_the_starter_model_predicts_the_case_that_was_named(demo):
    folder, printed = demo
    (file,) = (folder / "real_case").glob("*.nii.gz")
    assert file.name in printed and "the starter model: " in printed
    assert (folder / "real_case.html").read_text().count('id="pictures-') == 1
    assert f"the real case: {folder / 'real_case.html'}" in printed


def test_a_folder_without_a_case_is_refused_before_the_demo_begins(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["demo", "-o", str(tmp_path / "out"), "--case", str(tmp_path / "empty")]) == 2
    assert "empty" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_several_cases_is_no_case(cohort, tmp_path, capsys):
    assert main(["demo", "-o", str(tmp_path / "out"), "--case", str(cohort)]) == 2
    assert "holds 2 cases; give the folder of one" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.demo
def test_label_maps_have_the_geometry_of_the_raw_images(demo):
    folder, _ = demo
    labels = sorted((folder / "labels").glob("*.nii.gz"))
    assert len(labels) == 4
    for file in labels:
        case = file.name.removesuffix(".nii.gz")
        raw = sitk.ReadImage(str(folder / "phantoms" / "held_out" / case / f"{case}_t1.nii.gz"))
        written = sitk.ReadImage(str(file))
        for name in ("Size", "Spacing", "Origin", "Direction"):
            assert getattr(written, f"Get{name}")() == getattr(raw, f"Get{name}")()
        probabilities = np.load(folder / "predictions" / f"{case}.npz")["probabilities"]
        expected = postprocess(probabilities, PostprocessingConfig.paper())
        np.testing.assert_array_equal(sitk.GetArrayFromImage(written), expected)


@pytest.mark.long
@pytest.mark.demo
def test_the_model_folder_tells_the_truth(demo):
    """plans.json rebuilds the network that was trained, which has three heads and no weights beside."""
    plans = json.loads((demo[0] / MODEL / "plans.json").read_text())
    assert plans["resunet_ds"]["epochs"] == 12
    arch_kwargs = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    checkpoint = torch.load(demo[0] / MODEL / "fold_0" / "checkpoint_final.pth", weights_only=False)
    heads = [
        key for key in checkpoint["network_weights"] if key.startswith("decoder.seg_layers") and key.endswith("weight")
    ]
    assert len(heads) == arch_kwargs["n_heads"] == 3
    assert checkpoint["network_weights"]["encoder.stages.0.blocks.0.conv1.conv.weight"].shape[1] == 5  # D4
    assert checkpoint["trainer_name"] == "ResUNetDSTrainer"


@pytest.mark.long
@pytest.mark.demo
def test_stock_plans_train_the_paper_s_network_one_step(demo, monkeypatch):
    """``-p nnUNetPlans``: all seven stages' worth of features that fit, 64 channels first, on real loaders."""
    for kind in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{kind}", str(demo[0] / f"nnUNet_{kind}"))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    trainer = get_trainer_from_args("999", "3d_fullres", 0, "ResUNetDSTrainer", device=torch.device("cpu"))
    trainer.on_train_start()
    (first, *_) = trainer.network.parameters()
    assert first.shape == (64, 5, 3, 3, 3)
    before = first.detach().clone()
    trainer.on_train_epoch_start()
    assert torch.isfinite(trainer.train_step(next(trainer.dataloader_train))["loss"])
    assert not torch.equal(before, first)
    shutil.rmtree(trainer.output_folder_base)
