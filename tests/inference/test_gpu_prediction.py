"""Prediction on a GPU: agreement with fp32, memory, and what waits for what. ``make test-gpu`` runs these."""

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from models import write_model
from stock_runs import run
from test_sent_once import Sent

from nnunet_resunet_ds.inference import Predictor
from nnunet_resunet_ds.inference.sliding_window import SlidingWindow
from nnunet_resunet_ds.training.planning.adapted_plans import with_res_unet_ds

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
PATCH = (64, 64, 64)
SHAPE = (64, 96, 80)


@pytest.fixture
def wide_model(dataset, tmp_path):
    """Three stages as wide as the paper's, two folds, random weights."""
    plans, dataset_json, _ = dataset
    plans = with_res_unet_ds(plans, "3d_fullres", patch_size=PATCH, features_per_stage=(64, 96, 128)).plans
    return write_model(tmp_path / "wide", plans, dataset_json, folds=(0, 1))


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(1, 900, (4, *SHAPE)).astype(np.int16)


def probabilities_of(model, images, precision, device="cuda"):
    return Predictor.from_model_folder(model, precision=precision, device=device).predict_case(images, (1, 1, 1))[1]


@pytest.mark.parametrize(("precision", "most"), [("fp32", 1e-3), ("fp16", 1e-2), ("bf16", 5e-2)])
def test_probabilities_are_those_of_the_cpu_in_fp32(wide_model, images, precision, most):
    """With random weights; bf16 keeps three bits less than fp16."""
    exact = probabilities_of(wide_model, images, "fp32", "cpu")
    found = probabilities_of(wide_model, images, precision)
    assert np.abs(found - exact).max() < most and exact.std() > 0.01


def test_auto_is_fp16_and_its_convolutions_have_weights_in_it(wide_model, images):
    predictor = Predictor.from_model_folder(wide_model, device="cuda")
    predictor.predict_case(images, (1, 1, 1))
    forward = predictor._windows[0]._forward
    assert predictor.hardware["precision"] == "float16" and forward._is_converted
    kinds = {values.dtype for name, values in forward._network.state_dict().items() if "conv" in name}
    assert torch.float16 in kinds


def test_nothing_waits_for_the_gpu_between_tiles(wide_model, images, monkeypatch):
    predictor = Predictor.from_model_folder(wide_model, device="cuda")
    expected = predictor.predict_case(images, (1, 1, 1))[1]  # and what is compiled or tried is done
    add = SlidingWindow._add

    def without_waiting(self, *arguments):
        torch.cuda.set_sync_debug_mode("error")
        try:
            add(self, *arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(SlidingWindow, "_add", without_waiting)
    np.testing.assert_allclose(predictor.predict_case(images, (1, 1, 1))[1], expected, atol=1e-3)


def test_a_case_is_sent_once_and_comes_back_once(wide_model, images):
    predictor = Predictor.from_model_folder(wide_model, folds=[0], device="cuda")
    cases = predictor.preprocess(images, (1, 1, 1))
    assert cases[0].data.is_pinned()
    predictor.run_networks(cases)  # loads the weights
    with Sent() as work:
        outputs = predictor.run_networks(cases)
    assert sorted(work.sent) == sorted([cases[0].data.nbytes, outputs[0].nbytes])


def test_memory_grows_with_the_volume_by_images_sums_and_weights_alone(wide_model):
    predictor = Predictor.from_model_folder(wide_model, folds=[0], device="cuda")
    peaks, voxels = [], []
    for shape in (PATCH, (160, 160, 160)):
        cases = predictor.preprocess(np.random.default_rng(0).integers(1, 900, (4, *shape)).astype(np.int16), (1, 1, 1))
        predictor.run_networks(cases)
        torch.cuda.reset_peak_memory_stats()
        predictor.run_networks(cases)
        peaks.append(torch.cuda.max_memory_allocated())
        voxels.append(int(np.prod(shape)))
    # fp32: four channels, three regions and a weight; the mean is the sum
    assert peaks[1] - peaks[0] <= 1.1 * 4 * (4 + 3 + 1) * (voxels[1] - voxels[0])


def test_where_memory_runs_out_it_goes_on_with_less(wide_model, images, caplog):
    expected = probabilities_of(wide_model, images, "fp16")
    torch.cuda.empty_cache()
    predictor = Predictor.from_model_folder(wide_model, device="cuda", precision="fp16")
    total = torch.cuda.get_device_properties(0).total_memory
    held = torch.cuda.memory_allocated()
    of_a_map = 2 * 64 * int(np.prod(PATCH))
    try:
        torch.cuda.set_per_process_memory_fraction((held + 12 * of_a_map) / total)  # too little for four flips
        found = predictor.predict_case(images, (1, 1, 1))[1]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "out of memory" in caplog.text and predictor._windows[0]._forward._is_converted
    np.testing.assert_allclose(found, expected, atol=5e-3)  # cuDNN has other kernels for fewer inputs at once


# ---- a model that is trained by the stock command ----

OURS = ["resunet-ds", "predict"]
TRAINER = ("-tr", "ResUNetDSTrainer", "-p", "OnGPU")


@pytest.fixture(scope="module")
def trained(stock_dataset):
    """A training of nnU-Net's command on five phantoms: environment variables."""
    run(
        stock_dataset, "resunet-ds", "plan", "-d", "137", "--name", "OnGPU", "--patch-size", "32", "32", "32",
        "--features", "16", "32", "64", "--epochs", "12", "--iterations", "40", "--val-iterations", "4", "--lr", "1e-3",
    )  # fmt: skip
    printed = run(stock_dataset, "nnUNetv2_train", "137", "3d_fullres", "0", *TRAINER)
    assert "Using torch.compile" not in printed and "Mean Validation Dice" in printed
    return stock_dataset


@pytest.fixture(scope="module")
def predicted(trained, tmp_path_factory):
    """Label maps by nnU-Net's command and ours: a function of name and words."""
    images = Path(trained["nnUNet_raw"], "Dataset137_BraTS2021", "imagesTr")
    model = ("-d", "137", "-c", "3d_fullres", "-f", "0", *TRAINER)
    folder = tmp_path_factory.mktemp("predicted")

    def predict(name, command, *words):
        run({**os.environ, **trained}, *command, "-i", str(images), "-o", str(folder / name), *model, *words)
        maps = (folder / name).glob("*.nii.gz")
        return {path.name: sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in maps}

    return predict


def most_differing(some, others, share):
    """The region of a case in which most voxels differ, as a multiple of a share of its voxels, and of at least 3."""
    assert some.keys() == others.keys() and len(some) == 5
    differing = []
    for name in some:
        for least_label in (1, 2, 3):  # of WT, TC and ET
            a, b = some[name] >= least_label, others[name] >= least_label
            differing.append((a != b).sum() / max(3, share * b.sum()))
    return max(differing)


def test_trained_weights_paint_the_same_in_every_format(predicted):
    """Without rules that remove what is small, for which one voxel may decide."""
    thresholds = (*OURS, "--preset", "nnunet")
    exact = predicted("fp32", thresholds, "--precision", "fp32")
    assert all((labels > 0).any() for labels in exact.values())
    assert most_differing(predicted("fp16", thresholds), exact, share=0.002) <= 1
    assert most_differing(predicted("bf16", thresholds, "--precision", "bf16"), exact, share=0.02) <= 1


def test_trained_weights_paint_what_nnunet_paints(predicted):
    stock = predicted("stock", ["nnUNetv2_predict"])
    ours = predicted("ours", OURS, "--average", "logits", "--preset", "nnunet")
    assert most_differing(ours, stock, share=0.01) <= 1
