"""What is said of a case that is unlike those of training, and of an empty result."""

import json

import numpy as np
import pytest
import torch
from brats_files import CASES, MODALITIES, replace_one, values_of, write
from models import predict

from nnunet_resunet_ds.inference import Predictor

SHAPE = (6, 7, 8)
"""Of the tiny cases."""


@pytest.fixture
def knows_sizes(model):
    """The model, trained on images of 1 mm that were as large as the tiny cases."""
    change(model, original_median_spacing_after_transp=[1.0] * 3, original_median_shape_after_transp=list(SHAPE))
    return model


def change(model, settings=None, **entries):
    plans = json.loads((model / "plans.json").read_text()) | entries
    plans["configurations"]["3d_fullres"].update(settings or {})
    (model / "plans.json").write_text(json.dumps(plans))


def warnings_of(cohort, model, folder):
    assert predict(cohort, folder, model) == 0
    cases = json.loads((folder / "run.json").read_text())["cases"]
    return {case: {text.partition(": ")[0]: text for text in cases[case]["warnings"]} for case in CASES}


def with_spacing(cohort, spacing):
    case = cohort / CASES[0]
    for modality in MODALITIES:
        file = case / f"{case.name}_{modality}.nii.gz"
        write(file, values_of(file), spacing=spacing)


@pytest.mark.parametrize(("factor", "word"), [(0.87, "smaller"), (1.0, None), (1.15, "larger")])
def test_a_brain_of_another_size_is_named(cohort, knows_sizes, tmp_path, factor, word):
    change(knows_sizes, original_median_spacing_after_transp=[1 / factor] * 3)
    found = warnings_of(cohort, knows_sizes, tmp_path / "out")[CASES[1]]
    named = [name for name in ("smaller", "larger") if f"{name} than in training" in found]
    assert named == ([word] if word else [])
    if word:
        assert "measures 6 × 7 × 8 mm" in found[f"{word} than in training"]


def test_a_network_of_coarser_voxels_than_its_images_is_no_oddity(cohort, knows_sizes, tmp_path):
    change(knows_sizes, {"spacing": [1.5] * 3})
    assert "another spacing than in training" not in warnings_of(cohort, knows_sizes, tmp_path / "out")[CASES[0]]


def test_another_spacing_than_that_of_the_training_images_is_named(cohort, knows_sizes, tmp_path):
    change(knows_sizes, {"spacing": [1.5] * 3})
    with_spacing(cohort, (1.0, 1.0, 3.0))
    found = warnings_of(cohort, knows_sizes, tmp_path / "out")
    assert "(3, 1, 1) mm instead of (1, 1, 1)" in found[CASES[0]]["another spacing than in training"]
    assert "another spacing than in training" not in found[CASES[1]]


def test_so_is_the_spacing_of_the_network_where_training_images_had_another(cohort, knows_sizes, tmp_path):
    change(knows_sizes, {"spacing": [1.5] * 3})
    with_spacing(cohort, (1.5, 1.5, 1.5))
    found = warnings_of(cohort, knows_sizes, tmp_path / "out")[CASES[0]]
    assert "(1.5, 1.5, 1.5) mm instead of (1, 1, 1)" in found["another spacing than in training"]
    assert "resampled" not in found["another spacing than in training"]


def test_a_case_of_training_is_named(cohort, model, tmp_path, capsys):
    for fold, val in (("fold_0", CASES[0]), ("fold_1", CASES[1])):
        file = model / fold / "checkpoint_final.pth"
        cases = {"train": [case for case in CASES if case != val], "val": [val]}
        torch.save(torch.load(file) | {"resunet_ds": {"cases": cases}}, file)
    found = warnings_of(cohort, model, tmp_path / "out")
    assert all("a training case?" in found[case] for case in CASES)
    assert "warning: a training case?: 2 cases" in capsys.readouterr().out
    assert predict(cohort, tmp_path / "fold_0", model, "-f", "0") == 0
    assert f"a training case?: 1 case, {CASES[1]}" in capsys.readouterr().out


def test_an_empty_result_is_said(cohort, model, tmp_path, capsys):
    assert predict(cohort, tmp_path / "out", model, "--wt", "1", "--tc", "1", "--et", "1") == 0
    assert not values_of(tmp_path / "out" / f"{CASES[0]}.nii.gz").any()
    assert "warning: nothing found: 2 cases" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "run.json").read_text())["cases"]
    assert "nothing found: the label map is empty" in found[CASES[0]]["warnings"][-1]


def test_a_result_is_not_called_empty(cohort, model, tmp_path, capsys):
    replace_one(cohort / CASES[0], "flair", np.ones(SHAPE, np.int16))
    assert predict(cohort, tmp_path / "out", model, "--wt", "0") == 0
    assert "nothing found" not in capsys.readouterr().out


def test_python_is_told_what_the_command_says(cohort, knows_sizes, tmp_path, caplog):
    """Of files all of it; of arrays what does not depend on where images lie."""
    change(knows_sizes, {"spacing": [1.5] * 3})
    with_spacing(cohort, (1.0, 1.0, 3.0))
    case = cohort / CASES[0]
    files = [case / f"{case.name}_{modality}.nii.gz" for modality in MODALITIES]
    for file in files:
        write(file, values_of(file) + 5, spacing=(1.0, 1.0, 3.0))
    found = warnings_of(cohort, knows_sizes, tmp_path / "out")[CASES[0]]
    assert len(found) > 2
    predictor = Predictor.from_model_folder(knows_sizes, use_mirroring=False)
    caplog.clear()
    predictor.predict_case(files)
    assert caplog.messages == [f"images of {files[0].name}, …: {text}" for text in found.values()]
    caplog.clear()
    predictor.predict_case(np.stack([values_of(file) for file in files]), (3.0, 1.0, 1.0))
    told = [message.removeprefix("images: ") for message in caplog.messages]
    assert told == [text for text in found.values() if not text.startswith("another orientation")]
