"""A model of two of the four sequences predicts from those two, however they are given."""

import numpy as np
import pytest
from brats_files import CASES, values_of
from models import predict, small_plans, write_model

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.inference import Predictor

CHANNELS = ("T1ce", "FLAIR")
ONE_FOR_TWO = "case: one image for two channels"


@pytest.fixture
def model(dataset, tmp_path):
    plans, dataset_json, _ = dataset
    settings = plans["configurations"]["3d_fullres"]
    settings |= {"normalization_schemes": ["ZScoreNormalization"] * 2, "use_mask_for_norm": [True] * 2}
    content = {**dataset_json, "channel_names": {str(number): name for number, name in enumerate(CHANNELS)}}
    return write_model(tmp_path / "model", small_plans(plans), content)


def expected(cohort, model):
    images = np.stack([values_of(cohort / CASES[0] / f"{CASES[0]}_{name.lower()}.nii.gz") for name in CHANNELS])
    return Predictor.from_model_folder(model, use_mirroring=False).predict_case(images, (1, 1, 1))[0]


def flags(cohort, *names):
    case = cohort / CASES[0]
    return [word for name in names for word in (f"--{name}", str(case / f"{case.name}_{name}.nii.gz"))]


def test_raw_folders_need_no_more_than_the_model_reads(cohort, model, tmp_path):
    labels = expected(cohort, model)
    assert predict(cohort, tmp_path / "all", model) == 0
    for name in ("t1", "t2"):
        (cohort / CASES[0] / f"{CASES[0]}_{name}.nii.gz").unlink()
        (cohort / CASES[1] / f"{CASES[1]}_{name}.nii.gz").write_bytes(b"damaged, and of no matter")
    assert predict(cohort, tmp_path / "two", model) == 0
    for folder in ("all", "two"):
        np.testing.assert_array_equal(values_of(tmp_path / folder / f"{CASES[0]}.nii.gz"), labels)
    assert len(np.unique(labels)) > 1


def test_one_case_by_its_files(cohort, model, tmp_path):
    for number, names in enumerate((("t1ce", "flair"), ("flair", "t1", "t1ce", "t2"))):
        output = tmp_path / f"{number}.nii.gz"
        assert main(["predict", *flags(cohort, *names), "-o", str(output), "-m", str(model), "--no-tta"]) == 0
        np.testing.assert_array_equal(values_of(output), expected(cohort, model))


def test_what_the_model_reads_and_is_not_there_is_named(cohort, model, tmp_path, capsys):
    output = ["-o", str(tmp_path / "a.nii.gz"), "-m", str(model)]
    assert main(["predict", *flags(cohort, "t1", "flair"), *output]) == 2
    assert "the model reads T1ce, FLAIR, and T1ce is missing" in capsys.readouterr().err
    (cohort / CASES[0] / f"{CASES[0]}_flair.nii.gz").unlink()
    assert predict(cohort, tmp_path / "out", model) == 2
    error = capsys.readouterr().err
    assert f"{CASES[0]}_flair.nii.gz: missing" in error and "T2" not in error


def test_one_image_for_two_channels_is_refused(cohort, model, tmp_path, capsys, bad_input):
    file = str(cohort / CASES[0] / f"{CASES[0]}_t1ce.nii.gz")
    words = ["--t1ce", file, "--flair", file]
    assert main(["predict", *words, "-o", str(tmp_path / "a.nii.gz"), "-m", str(model)]) == 2
    answer = capsys.readouterr().err
    assert "is given as T1ce and as FLAIR" in answer
    bad_input("predict", ONE_FOR_TWO, answer)
