"""What is given to `Predictor` from Python: arrays, files and settings, right and wrong."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from brats_files import write
from test_predictor import brain

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.inference import Predictor
from nnunet_resunet_ds.inference.input_warnings import intensities_unlike_training
from nnunet_resunet_ds.inference.load_model import load_model
from postprocessing import PostprocessingConfig
from postprocessing.model_config import check_config_fits

# ---- arrays and settings ----


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x[:3], "one channel each of T1, T1ce, T2, FLAIR"), (lambda x: x[0], "got shape"),
        (lambda x: np.where(x > 5, x, np.nan), "NaN"), (lambda x: x * 1j, "real numbers; got complex64"),
        (lambda x: x * [[[[1]]], [[[0]]], [[[1]]], [[[1]]]], "T1ce is zero"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_case_are_refused(model, change, said):
    with pytest.raises(InputError, match=said):
        Predictor.from_model_folder(model).predict_case(change(brain().astype(np.float32)), (1, 1, 1))


@pytest.mark.parametrize("spacing", [None, 1.0, (1, 1), (1, 0, 1), (1, 1, float("nan"))])
def test_a_spacing_that_is_none_is_refused(model, spacing):
    with pytest.raises(InputError, match="spacing"):
        Predictor.from_model_folder(model).predict_case(brain(), spacing)


@pytest.mark.parametrize(
    "settings",
    [{"average": "mean"}, {"tiles": "all"}, {"precision": "fp64"}, {"device": "cuda"}, {"precision": "fp16"}],
)
def test_settings_that_cannot_be_are_refused(model, settings):
    if settings.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(InputError):
        Predictor.from_model_folder(model, **{"device": "cpu", **settings})


def test_a_network_that_returns_nan_is_named(model):
    loaded = load_model(model, [0])
    loaded.weights["0"]["decoder.seg_layers.1.bias"].fill_(float("nan"))
    with pytest.raises(InputError, match="NaN from a broken model"):
        Predictor([loaded]).predict_case(brain(), (1, 1, 1))


def test_averaging_otherwise_than_tuned_is_said(model, caplog):
    config = PostprocessingConfig(averaging="logits")
    Predictor.from_model_folder(model, postprocessing=config)
    assert len(caplog.messages) == 1 and "tuned on an average of logits" in caplog.text
    Predictor.from_model_folder(model, postprocessing=config, average="logits")
    assert len(caplog.messages) == 1


def test_a_plain_script_needs_no_main_guard_and_starts_no_process(model, tmp_path):
    np.save(tmp_path / "images.npy", brain())
    script = f"""
import multiprocessing, sys
import numpy as np
from nnunet_resunet_ds.inference import Predictor
predictor = Predictor.from_model_folder({str(model)!r})
labels, probabilities = predictor.predict_case(np.load({str(tmp_path / "images.npy")!r}), spacing=(1, 1, 1))
print(labels.shape, probabilities.shape, len(multiprocessing.active_children()))
"""
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "(22, 26, 20) (3, 22, 26, 20) 0"


def test_plans_carry_the_post_processing(model):
    plans = json.loads((model / "plans.json").read_text())
    plans["resunet_ds_postprocessing"] = {"wt": 0.6}
    (model / "plans.json").write_text(json.dumps(plans))
    assert Predictor.from_model_folder(model).postprocessing == PostprocessingConfig(wt=0.6)
    (model / "postprocessing.json").write_text('{"wt": 0.7}')
    assert Predictor.from_model_folder(model).postprocessing == PostprocessingConfig(wt=0.7)


# ---- what users hand in ----


def test_files_are_read_as_the_command_reads_them(model, tmp_path):
    """A background of -1 becomes 0."""
    images, files = brain(), []
    for number, values in enumerate(np.where(images == 0, -1, images).astype(np.int16)):
        files.append(tmp_path / f"{number}.nii.gz")
        write(files[-1], values, spacing=(1.0, 1.0, 1.0))
    predictor = Predictor.from_model_folder(model)
    labels, probabilities = predictor.predict_case(files, spacing=np.array([1, 1, 1]))
    expected = predictor.predict_case(images, (1, 1, 1))
    np.testing.assert_array_equal(probabilities, expected[1])
    np.testing.assert_array_equal(labels, expected[0])
    np.testing.assert_array_equal(predictor.predict_case(list(images), (1, 1, 1))[1], expected[1])
    with pytest.raises(InputError, match="one file a channel"):
        predictor.predict_case(files[:3])


def test_a_fold_may_be_a_number(model):
    assert list(Predictor.from_model_folder(model, folds=0).models[0].weights) == ["0"]
    assert list(Predictor.from_model_folder(model, folds=[1]).models[0].weights) == ["1"]
    with pytest.raises(InputError):
        Predictor.from_model_folder(model, device="toaster")
    with pytest.raises(InputError, match="at least one model"):
        Predictor([])


@pytest.mark.parametrize("spacing", [(1000, 1, 1), (1, 1, 0.0001), (0.001, 0.001, 0.001), (1e9, 1, 1)])
def test_a_spacing_of_no_brain_is_named(model, spacing):
    with pytest.raises(InputError, match="correct it in the image headers"):
        Predictor.from_model_folder(model).predict_case(brain((50, 26, 20)), spacing)


@pytest.mark.parametrize(
    ("low", "high", "median", "warned"),
    [(100, 900, 500, False), (100, 900, 2600, False), (100, 900, 2800, True), (100, 900, 0.5, True),
     (-3, 3, -1, False), (-3, 3, 40, True), (-1.4, -0.2, -0.7, False)],
)  # fmt: skip
def test_intensities_unlike_training(low, high, median, warned):
    known = {"0": {"percentile_00_5": low, "percentile_99_5": high}}
    found = intensities_unlike_training(np.full((1, 2, 2, 2), median), ["T1"], known)
    assert bool(found) == warned


def test_wt_steps_are_refused_where_a_further_region_is_part_of_wt(dataset):
    dataset_json = {
        "labels": {
            "background": 0,
            "whole tumor": [1, 2, 3, 4],
            "tumor core": [2, 3, 4],
            "enhancing tumor": 3,
            "CC": 4,
        },
        "regions_class_order": [1, 2, 3, 4],
    }
    check_config_fits(PostprocessingConfig.paper(), dataset_json)
    with_wt = PostprocessingConfig.paper().with_values(wt_component_voxels=10)
    with pytest.raises(InputError, match="wt_components"):
        check_config_fits(with_wt, dataset_json)
    check_config_fits(with_wt, dataset[1])
    with pytest.raises(InputError, match="5 regions"):
        check_config_fits(PostprocessingConfig.paper(), dataset_json | {"regions_class_order": [1, 2, 3, 4, 5]})


# ---- files ----


@pytest.fixture
def files(tmp_path):
    names = ("t1", "t1ce", "t2", "flair")
    for name, image in zip(names, brain(), strict=True):
        write(tmp_path / f"a_{name}.nii.gz", image)
    return [tmp_path / f"a_{name}.nii.gz" for name in names]


def test_a_spacing_that_the_files_contradict_is_refused(model, files):
    predictor = Predictor.from_model_folder(model, device="cpu")
    with pytest.raises(InputError, match=r"spacing=\(2, 1, 1\), and the files say"):
        predictor.predict_case(files, spacing=(2, 1, 1))
    with pytest.raises(InputError, match="leave it out for files"):
        predictor.predict_case(files, spacing=(1, 1))
    predictor.predict_case(files, spacing=(1, 1, 1))


def test_files_in_another_order_than_their_names_say_are_spoken_of(model, files, caplog):
    predictor = Predictor.from_model_folder(model, device="cpu")
    predictor.predict_case(files)
    assert "exchanged" not in caplog.text
    predictor.predict_case([files[1], files[0], *files[2:]])
    assert "images exchanged?: T1 is a_t1ce.nii.gz, T1ce is a_t1.nii.gz" in caplog.text
