"""Predictions know their images, and metrics their label maps: what does not belong together is not put together."""

import json
import os
import re
import shutil

import numpy as np
import pytest
from brats_files import CASES, painted, replace_one, values_of, write
from models import predict, small_plans, write_model
from reports import CASES as REPORTED
from reports import make_cohort

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.inference import Predictor
from nnunet_resunet_ds.inference.load_model import load_model

FIRST, SECOND = CASES
NOISE = np.random.default_rng(7).integers(0, 900, (6, 7, 8), np.int16)


def content(folder):
    return json.loads((folder / "run.json").read_text())


def maps_of(folder):
    return {file.name: values_of(file) for file in sorted(folder.glob("*.nii.gz"))}


def assert_same_maps(one, other):
    first, second = maps_of(one), maps_of(other)
    assert first.keys() == second.keys() and first
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])


# ---- images ----


def change_image(cohort):
    replace_one(cohort / FIRST, "flair", NOISE)


def test_a_case_whose_images_changed_is_predicted_again(cohort, model, tmp_path, capsys):
    predict(cohort, tmp_path / "out", model)
    change_image(cohort)
    capsys.readouterr()
    assert predict(cohort, tmp_path / "out", model, "--continue") == 0
    printed = capsys.readouterr()
    assert f"{FIRST}: its images have changed since it was predicted" in printed.err and SECOND not in printed.err
    assert "1 label map" in printed.out and "1 was there" in printed.out
    predict(cohort, tmp_path / "right", model)
    assert_same_maps(tmp_path / "out", tmp_path / "right")


def test_images_of_other_times_and_paths_are_the_same_images(cohort, model, tmp_path, capsys):
    """A cohort, a model and predictions that were copied to another machine are gone on with."""
    predict(cohort, tmp_path / "out", model)
    there = tmp_path / "there"
    for name, folder in (("cohort", cohort), ("out", tmp_path / "out"), ("m", model.parent)):
        shutil.copytree(folder, there / name, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("there"))
    capsys.readouterr()
    assert predict(there / "cohort", there / "out", there / "m" / model.name, "--continue") == 0
    assert "2 were there" in capsys.readouterr().out


def test_of_a_run_that_noted_no_images_their_times_tell(cohort, model, tmp_path, capsys):
    predict(cohort, tmp_path / "out", model)
    run = content(tmp_path / "out")
    for entry in run["cases"].values():
        del entry["images"]
    (tmp_path / "out" / "run.json").write_text(json.dumps(run))
    capsys.readouterr()
    assert predict(cohort, tmp_path / "out", model, "--continue") == 0
    printed = capsys.readouterr()
    assert "2 were there" in printed.out and "does not note the images of every case" in printed.err
    change_image(cohort)
    assert predict(cohort, tmp_path / "out", model, "--continue") == 0
    assert "1 was there" in capsys.readouterr().out


def test_the_settings_of_a_run_hold_no_path_and_no_time(cohort, model, tmp_path):
    predict(cohort, tmp_path / "out", model)
    (noted,) = content(tmp_path / "out")["models"]
    identities = load_model(model).identities
    assert noted == {"name": model.name, "checkpoint": "checkpoint_final.pth", "weights": identities}
    assert content(tmp_path / "out")["model_folders"] == [str(model)]


def test_a_label_map_that_was_drawn_on_stays_and_is_spoken_of(cohort, model, tmp_path, capsys):
    out = tmp_path / "out"
    predict(cohort, out, model)
    write(out / f"{FIRST}.nii.gz", np.ones((6, 7, 8), np.uint8))
    capsys.readouterr()
    assert predict(cohort, out, model, "--continue") == 0
    printed = capsys.readouterr()
    assert f"{FIRST}.nii.gz: has changed since it was written, and stays" in printed.err
    assert SECOND not in printed.err and "2 were there" in printed.out
    assert (values_of(out / f"{FIRST}.nii.gz") == 1).all()


def test_a_stock_label_map_among_ours_is_not_read_by_our_values(cohort, model, tmp_path, capsys):
    """nnUNetv2_predict into a folder of ours: its values are nnU-Net's, and run.json says BraTS 2021's."""
    out, metrics = tmp_path / "out", str(tmp_path / "metrics.json")
    predict(cohort, out, model, "--labels", "2021")
    evaluate = ["evaluate", "-ref", str(cohort), "-pred", str(out), "-o", metrics]
    assert main(evaluate) == 0
    write(out / f"{FIRST}.nii.gz", np.ones((6, 7, 8), np.uint8))
    capsys.readouterr()
    for command in (evaluate, ["submission", "-i", str(out), "-o", str(tmp_path / "handed_in")]):
        assert main(command) == 2
        assert f"{FIRST}.nii.gz: has changed since" in capsys.readouterr().err
    assert main([*evaluate, "--pred-labels", "2021"]) == 0


# ---- probabilities ----


@pytest.fixture
def stock(tmp_path):
    """A folder as nnUNetv2_predict --save_probabilities leaves it."""
    folder = tmp_path / "stock"
    for number, case in enumerate(CASES):
        values = np.random.default_rng(number).random((3, 6, 7, 8), np.float32)
        write(folder / f"{case}.nii.gz", painted(values))
        np.savez_compressed(folder / f"{case}.npz", probabilities=values)
    return folder


def test_stock_probabilities_of_another_model_are_refused(stock, tmp_path, capsys):
    """Predicted again into the same folder, without --save_probabilities."""
    assert main(["postprocess", "-i", str(stock), "-o", str(tmp_path / "one")]) == 0
    write(stock / f"{FIRST}.nii.gz", painted(np.random.default_rng(9).random((3, 6, 7, 8))))
    assert main(["postprocess", "-i", str(stock), "-o", str(tmp_path / "two")]) == 2
    error = capsys.readouterr().err
    assert f"{FIRST}.npz: is not of the label map next to it" in error and "1 case failed, 1 written" in error
    assert list(maps_of(tmp_path / "two")) == [f"{SECOND}.nii.gz"]


def test_our_probabilities_under_a_stock_label_map_are_refused(cohort, model, tmp_path, capsys):
    out = tmp_path / "out"
    predict(cohort, out, model, "--save-probabilities")
    assert main(["postprocess", "-i", str(out), "-o", str(tmp_path / "one")]) == 0
    assert_same_maps(out, tmp_path / "one")
    write(out / f"{FIRST}.nii.gz", np.full((6, 7, 8), 3, np.uint8))  # nnUNetv2_predict into the same folder
    assert main(["postprocess", "-i", str(out), "-o", str(tmp_path / "two")]) == 2
    assert f"{FIRST}.npz: is not of the label map next to it" in capsys.readouterr().err


def test_probabilities_go_with_the_label_map_that_another_model_replaces(cohort, model, dataset, tmp_path, capsys):
    plans, dataset_json, _ = dataset
    other = write_model(tmp_path / "other", small_plans(plans), dataset_json, folds=(3,))
    out = tmp_path / "out"
    predict(cohort, out, model, "--save-probabilities")
    predict(cohort, out, other)
    assert not list(out.glob("*.npz"))
    assert main(["postprocess", "-i", str(out), "-o", str(tmp_path / "labels")]) == 2
    assert "no .npz probabilities" in capsys.readouterr().err


# ---- ensembles ----


def with_region(dataset_json, name):
    labels = {**dataset_json["labels"], name: [4]}
    return {**dataset_json, "labels": labels, "regions_class_order": [1, 2, 3, 4]}


def test_models_of_different_further_regions_are_not_averaged(dataset, cohort, tmp_path, capsys):
    plans, dataset_json, _ = dataset
    models = [
        write_model(tmp_path / name, small_plans(plans), with_region(dataset_json, region))
        for name, region in (("a", "resection cavity"), ("b", "cystic component"), ("c", "Resection_cavity"))
    ]
    assert predict(cohort, tmp_path / "out", models[0], "-m", str(models[1])) == 2
    error = capsys.readouterr().err
    assert re.search(r"b: has other channels or regions than .*a \(.*cystic component, not .*resection cavity\)", error)
    assert predict(cohort, tmp_path / "out", models[0], "-m", str(models[2])) == 0


def test_regions_of_other_values_are_not_averaged(dataset, tmp_path):
    plans, dataset_json, _ = dataset
    ours = with_region(dataset_json, "cyst")
    inside = {**ours, "labels": {**ours["labels"], next(iter(list(ours["labels"])[1:])): [1, 2, 3, 4]}}
    folders = [
        write_model(tmp_path / name, small_plans(plans), content) for name, content in (("a", ours), ("b", inside))
    ]
    with pytest.raises(InputError, match="has other channels or regions"):
        Predictor([load_model(folder) for folder in folders])


# ---- metrics ----


@pytest.fixture
def evaluated(tmp_path):
    """A cohort with predictions and their metrics: (folder, words of the report)."""
    folder = make_cohort(tmp_path)
    words = ["-ref", str(folder / "raw"), "-pred", str(folder / "labels")]
    assert main(["evaluate", *words, "-o", str(folder / "metrics.json")]) == 0
    report = ["report", "-i", str(folder / "raw"), *words, "--metrics", str(folder / "metrics.json")]
    return folder, [*report, "-o", str(folder / "report.html")]


def test_a_report_shows_metrics_over_their_own_label_maps(evaluated, capsys):
    folder, words = evaluated
    assert main(words) == 0
    for file in (folder / "labels").iterdir():
        os.utime(file, (1, 1))
    assert main(words) == 0
    assert "does not say" not in capsys.readouterr().err


def test_metrics_of_another_run_are_refused(evaluated, capsys):
    folder, words = evaluated
    (folder / "report.html").unlink(missing_ok=True)
    shutil.copy(folder / "before" / f"{REPORTED[1]}.nii.gz", folder / "labels")
    assert main(words) == 2
    assert f"metrics.json: was made from another label map of {REPORTED[1]}" in capsys.readouterr().err
    assert not (folder / "report.html").exists()


def test_metrics_that_do_not_say_of_what_they_are_are_spoken_of(evaluated, capsys):
    folder, words = evaluated
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["files"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert main(words) == 0
    assert "metrics.json: does not say of which label maps it is" in capsys.readouterr().err
