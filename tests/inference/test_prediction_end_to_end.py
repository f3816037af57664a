"""Our prediction against ``nnUNetv2_predict``, with the model that the demo has trained; then tuned, and sent on."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from test_demo import MODEL

from nnunet_resunet_ds.base.images import read_labels
from nnunet_resunet_ds.base.regions import REGIONS
from nnunet_resunet_ds.base.switches import FAST_PATHS, WITHOUT_VARIABLE
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.compute.precision import COMPILE_VARIABLE, bf16_is_faster
from nnunet_resunet_ds.evaluation.dice import region_dice
from nnunet_resunet_ds.inference import Predictor
from postprocessing import PostprocessingConfig

pytestmark = [pytest.mark.long, pytest.mark.demo, pytest.mark.usefixtures("two_threads")]
BIN = Path(sys.executable).parent
CASE = "BraTS2021_90015"
IF_BF16_IS_FAST = pytest.mark.skipif(
    not bf16_is_faster(), reason="not faster here in bf16, or far slower; test_predictor.py has a small one"
)


def labels_of(folder, case):
    return read_labels(folder / f"{case}.nii.gz")[1]


@pytest.fixture(scope="module")
def predicted(demo, tmp_path_factory):
    """Function of precision and further flags: predict the held-out phantoms, or one of them, and return the folder."""
    folder = tmp_path_factory.mktemp("predicted")

    def run(precision, *flags):
        out = folder / "_".join([precision, *flags])
        if not out.exists():
            images = demo[0] / "phantoms" / "held_out" / ("" if "--average" in flags else CASE)
            arguments = ["-i", str(images), "-o", str(out), "-m", str(demo[0] / MODEL)]
            assert main(["predict", *arguments, "--precision", precision, "--save-probabilities", *flags]) == 0
        return out

    return run


@pytest.mark.parametrize(
    ("precision", "least", "difference"),
    [("fp32", 0.999, 1e-3), pytest.param("bf16", 0.995, None, marks=IF_BF16_IS_FAST)],
)
def test_it_is_what_nnunet_predicts(demo, predicted, precision, least, difference):
    """Eight flips and half-overlapping tiles on both sides, logits averaged, thresholds 0.5 and not nested."""
    ours, stock = predicted(precision, "--average", "logits", "--preset", "nnunet"), demo[0] / "predictions"
    cases = sorted(path.name.removesuffix(".nii.gz") for path in ours.glob("*.nii.gz"))
    assert len(cases) == 4
    # over all cases together: one of them has a few voxels of ET, of which each would weigh too much
    both = [np.concatenate([labels_of(folder, case).ravel() for case in cases]) for folder in (stock, ours)]
    dice = region_dice(*both)
    assert min(dice.values()) >= least, dice
    for case in cases if difference else []:
        a, b = (np.load(folder / f"{case}.npz")["probabilities"] for folder in (stock, ours))
        # nnU-Net's own sums are coarse in the far corners of the volume, where its fp16 weights run out of digits
        assert (np.abs(a - b) > difference).mean() < 1e-3


@pytest.fixture(scope="module")
def plain(demo):
    """Function of flips or none: label map and probabilities of two held-out phantoms in fp32, eager, no fast path."""

    @functools.cache
    def predicted(use_mirroring):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(WITHOUT_VARIABLE, ",".join(FAST_PATHS))
            return predictions(demo, "fp32", use_mirroring)

    return predicted


def predictions(demo, precision, use_mirroring):
    predictor = Predictor.from_model_folder(demo[0] / MODEL, precision=precision, use_mirroring=use_mirroring)
    folders = sorted((demo[0] / "phantoms" / "held_out").iterdir())[:2]
    modalities = ("t1", "t1ce", "t2", "flair")
    return [predictor.predict_case([folder / f"{folder.name}_{m}.nii.gz" for m in modalities]) for folder in folders]


@pytest.mark.parametrize(
    ("paths", "precision", "least", "largest", "mean"),
    [
        (FAST_PATHS, "fp32", 0.999, 1e-4, 1e-6),
        ((*FAST_PATHS, COMPILE_VARIABLE), "fp32", 0.999, 1e-4, 1e-6),
        pytest.param(FAST_PATHS, "bf16", 0.995, 0.2, 1e-3, marks=IF_BF16_IS_FAST),
    ],
)
def test_fast_paths_agree_with_plain_fp32(demo, plain, monkeypatch, paths, precision, least, largest, mean):
    """Tolerances: of the Dice of each region over all cases, and of probabilities, at most and on average.

    In fp32 without flips, which no path has a part in; the errors of bf16 are averaged over them, as in use. Each path
    alone is compared in tests/network/test_fast_forms.py.
    """
    use_mirroring = precision == "bf16"
    monkeypatch.setenv(WITHOUT_VARIABLE, ",".join(path for path in FAST_PATHS if path not in paths))
    monkeypatch.setenv(COMPILE_VARIABLE, str(int(COMPILE_VARIABLE in paths)))
    torch._dynamo.utils.counters.clear()
    found = predictions(demo, precision, use_mirroring)
    assert bool(torch._dynamo.utils.counters["stats"]) is (COMPILE_VARIABLE in paths)
    expected = plain(use_mirroring)
    labels = [np.concatenate([case[0].ravel() for case in cases]) for cases in (expected, found)]
    dice = region_dice(*labels)
    assert min(dice.values()) >= least, dice
    differences = np.concatenate([np.abs(a[1] - b[1]).ravel() for a, b in zip(expected, found, strict=True)])
    assert differences.max() <= largest and differences.mean() <= mean, (differences.max(), differences.mean())


def test_averaging_probabilities_differs_a_little(demo, predicted):
    folder = predicted("fp32", "--preset", "nnunet")
    dice = region_dice(labels_of(demo[0] / "predictions", CASE), labels_of(folder, CASE))
    assert 0.98 < dice["WT"] < 1


def test_a_tuned_model_travels_through_nnunet_s_zip(demo, tmp_path, monkeypatch):
    """tune → nnUNetv2_export_model_to_zip → nnUNetv2_install_pretrained_model_from_zip → predict."""
    for kind in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{kind}", str(demo[0] / f"nnUNet_{kind}"))
    model = demo[0] / MODEL
    plans = (model / "plans.json").read_text()
    assert main(["tune", "-m", str(model), "--no-tta"]) == 0
    tuned = PostprocessingConfig.from_json(model / "postprocessing.json")
    (model / "postprocessing.json").unlink()
    environment = {**os.environ, "nnUNet_results": str(demo[0] / "nnUNet_results")}
    export = ["-d", "999", "-o", str(tmp_path / "model.zip"), "-c", "3d_fullres", "-f", "0", "-tr", "ResUNetDSTrainer"]
    export += ["-p", "nnUNetResUNetDSPlans"]
    subprocess.run([BIN / "nnUNetv2_export_model_to_zip", *export], env=environment, check=True, capture_output=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment["nnUNet_results"] = str(elsewhere)
    install = [BIN / "nnUNetv2_install_pretrained_model_from_zip", tmp_path / "model.zip"]
    subprocess.run(install, env=environment, check=True, capture_output=True)
    monkeypatch.setenv("nnUNet_results", str(elsewhere))
    images = demo[0] / "phantoms" / "held_out" / CASE
    assert main(["predict", "-i", str(images), "-o", str(tmp_path / "out"), "-d", "999", "--no-tta"]) == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert PostprocessingConfig.from_mapping(run["postprocessing"]) == tuned
    (model / "plans.json").write_text(plans)  # other tests read it


@pytest.mark.parametrize(
    ("precision", "least", "margin"),
    [("fp32", 0.999, 0.01), pytest.param("bf16", 0.98, 0.2, marks=IF_BF16_IS_FAST)],
)
def test_a_real_case_is_what_nnunet_predicts(demo, real_cases, tmp_path, stock_of_real_case, precision, least, margin):
    """The demo's network on a patient: no useful label map, but the same one.

    How many voxels are near the threshold is a matter of the network, which is another one on each machine, and of a
    kind of images that it has never seen: so labels may differ where nnU-Net's probability is near it, and only there.
    """
    case, stock, probabilities = stock_of_real_case
    arguments = ["-i", str(real_cases / case), "-o", str(tmp_path), "-m", str(demo[0] / MODEL), "--no-tta"]
    arguments += ["--precision", precision]
    assert main(["predict", *arguments, "--average", "logits", "--preset", "nnunet"]) == 0
    found = labels_of(tmp_path, case)
    assert np.unique(found).size > 2
    large = [region for region in REGIONS if region.mask(stock).sum() > 1000]  # in others a voxel weighs too much
    dice = region_dice(stock, found)
    assert large and min(dice[region.name] for region in large) >= least, dice
    from_threshold = np.abs(probabilities - 0.5).min(axis=0)
    assert from_threshold.max() > 0.4  # else the next line could not fail
    assert from_threshold[stock != found].max(initial=0) <= margin


@pytest.fixture(scope="module")
def stock_of_real_case(demo, real_cases):
    """A real case, nnU-Net's label map of it without flips, and its probabilities (R, Z, Y, X)."""
    case = sorted(path.name for path in real_cases.iterdir() if path.is_dir())[0]
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(demo[0] / MODEL), (0,), "checkpoint_final.pth")
    files = [str(real_cases / case / f"{case}_{modality}.nii.gz") for modality in ("t1", "t1ce", "t2", "flair")]
    images, properties = SimpleITKIO().read_images(files)
    labels, probabilities = predictor.predict_single_npy_array(images, properties, save_or_return_probabilities=True)
    return case, labels, probabilities
