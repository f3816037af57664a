"""``resunet-ds predict`` as its users type it, on tiny cases and random weights."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from brats_files import CASES, MODALITIES, values_of, write
from models import predict, stock_plans, write_model

from dataset_conversion.editions import EDITIONS
from dataset_conversion.image_cases import find_prediction_cases, load_case
from dataset_conversion.label_conventions import NNUNET_CONVENTION
from dataset_conversion.labels import nnunet_labels
from nnunet_resunet_ds.base import run_file
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.commands import predict as predict_command
from nnunet_resunet_ds.inference import Predictor, on_workers
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.inference.output import CaseWriter, Output
from nnunet_resunet_ds.inference.pipeline import CaseOutcome, _Pipeline
from postprocessing import PostprocessingConfig, postprocess


def expected(cohort, case, model, **settings):
    images = np.stack([values_of(cohort / case / f"{case}_{modality}.nii.gz") for modality in MODALITIES])
    return Predictor.from_model_folder(model, use_mirroring=False, **settings).predict_case(images, (1, 1, 1))


def test_raw_folders_images_ts_and_single_files_give_the_same_label_maps(cohort, images_ts, model, tmp_path, capsys):
    assert predict(cohort, tmp_path / "raw", model) == 0
    said = capsys.readouterr().out
    assert "read as BraTS 2021" in said and "folds 0, 1" in said and "wrote 2 label maps" in said
    assert predict(images_ts, tmp_path / "ts", model) == 0
    case = CASES[0]
    files = [
        argument for name in MODALITIES for argument in (f"--{name}", str(cohort / case / f"{case}_{name}.nii.gz"))
    ]
    single = tmp_path / "single" / "tumour.nii.gz"
    assert main(["predict", *files, "-o", str(single), "-m", str(model), "--no-tta"]) == 0
    for case in CASES:
        labels, _ = expected(cohort, case, model)
        for folder in ("raw", "ts"):
            file = tmp_path / folder / f"{case}.nii.gz"
            np.testing.assert_array_equal(values_of(file), labels)
            image, original = sitk.ReadImage(str(file)), sitk.ReadImage(str(cohort / case / f"{case}_t1.nii.gz"))
            for name in ("Size", "Spacing", "Origin", "Direction"):
                assert getattr(image, f"Get{name}")() == getattr(original, f"Get{name}")()
    np.testing.assert_array_equal(values_of(single), values_of(tmp_path / "raw" / f"{CASES[0]}.nii.gz"))
    assert len(np.unique(values_of(single))) > 1


def test_run_json_says_how_and_with_what(cohort, model, tmp_path, capsys):
    predict(cohort, tmp_path / "out", model, "--wt", "0.3", "--average", "logits", "-f", "1", "--tile-step", "0.25")
    said = capsys.readouterr()
    assert f"{CASES[0]}: 1 forward pass of the network" in said.out + said.err
    assert "overlapping (step 0.25) tiles" in said.out
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    weights = load_model(model, [1]).identities
    assert run["models"] == [{"name": model.name, "checkpoint": "checkpoint_final.pth", "weights": weights}]
    assert list(weights) == ["1"] and run["model_folders"] == [str(model)]
    assert run["average"] == "logits" and run["tile_step"] == 0.25
    assert run["use_mirroring"] is False and run["postprocessing"]["wt"] == 0.3
    assert run["versions"]["torch"] == torch.__version__ and run["device"]
    assert sorted(run["cases"]) == list(CASES)
    assert any("not skull-stripped?" in warning for warning in run["cases"][CASES[0]]["warnings"])
    table = (tmp_path / "out" / "postprocessing_changes.csv").read_text().splitlines()
    assert table[0] == "case,step,voxels,components,mean_probability,emptied" and len(table) == 1 + 2 * 2


def test_probabilities_are_in_nnunet_s_format_and_postprocess_to_the_same(cohort, model, tmp_path):
    out = tmp_path / "out"
    predict(cohort, out, model, "--save-probabilities")
    labels, probabilities = expected(cohort, CASES[1], model)
    saved = np.load(out / f"{CASES[1]}.npz")["probabilities"]
    np.testing.assert_allclose(saved, probabilities, atol=1e-6)
    properties = np.load(out / f"{CASES[1]}.pkl", allow_pickle=True)
    assert properties["sitk_stuff"]["origin"] == (0.0, -239.0, 0.0) and properties["spacing"] == [1, 1, 1]
    assert main(["postprocess", "-i", str(out), "-o", str(tmp_path / "again")]) == 0
    np.testing.assert_array_equal(values_of(tmp_path / "again" / f"{CASES[1]}.nii.gz"), labels)


def test_nnunet_can_ensemble_what_we_wrote(cohort, model, tmp_path):
    from nnunetv2.ensembling.ensemble import ensemble_folders

    predict(cohort, tmp_path / "a", model, "--save-probabilities", "-f", "0")
    predict(cohort, tmp_path / "b", model, "--save-probabilities", "-f", "1")
    ensemble_folders([str(tmp_path / "a"), str(tmp_path / "b")], str(tmp_path / "both"), True, num_processes=1)
    _, probabilities = expected(cohort, CASES[0], model)
    np.testing.assert_allclose(
        np.load(tmp_path / "both" / f"{CASES[0]}.npz")["probabilities"], probabilities, atol=1e-5
    )


@pytest.mark.parametrize("edition", ["2021", "2024-ped"])
def test_label_maps_can_have_an_edition_s_values(cohort, model, tmp_path, edition):
    predict(cohort, tmp_path / "out", model, "--labels", edition)
    labels, _ = expected(cohort, CASES[0], model)
    found = values_of(tmp_path / "out" / f"{CASES[0]}.nii.gz")
    np.testing.assert_array_equal(nnunet_labels(found, EDITIONS[edition].tissues), labels)
    assert (found != labels).any()


def test_an_ensemble_of_two_models(cohort, model, dataset, tmp_path):
    plans, dataset_json, _ = dataset
    other = write_model(tmp_path / "other", stock_plans(plans), dataset_json, trainer="nnUNetTrainer")
    assert predict(cohort, tmp_path / "out", model, "-m", str(other)) == 0
    mean = np.mean([expected(cohort, CASES[0], folder)[1] for folder in (model, other)], axis=0)
    labels = postprocess(mean, PostprocessingConfig.paper())
    assert (values_of(tmp_path / "out" / f"{CASES[0]}.nii.gz") != labels).sum() <= 1  # rounding at a threshold


def test_different_post_processing_in_an_ensemble_is_said(cohort, model, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(model, other)
    (other / "postprocessing.json").write_text('{"wt": 0.9}')
    assert predict(cohort, tmp_path / "out", model, "-m", str(other)) == 0
    assert "warning: the models have different post-processing" in capsys.readouterr().err
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["postprocessing"]["wt"] == 0.45


def test_models_are_found_by_nnunet_s_letters(cohort, model, nnunet_folders, tmp_path, capsys):
    results = nnunet_folders / "nnUNet_results" / "Dataset137_BraTS2021"
    results.mkdir()
    arguments = ["predict", "-i", str(cohort), "-o", str(tmp_path / "out"), "--no-tta", "-d", "137"]
    assert main(arguments) == 2
    assert "models there: none" in capsys.readouterr().err
    shutil.move(model, results / "ResUNetDSTrainer__nnUNetPlans__3d_fullres")
    assert main(arguments) == 0
    shutil.copytree(
        results / "ResUNetDSTrainer__nnUNetPlans__3d_fullres", results / "ResUNetDSTrainer__small__3d_fullres"
    )
    assert main(arguments) == 2
    assert "name one with -p" in capsys.readouterr().err
    assert main([*arguments, "-p", "small", "-f", "0"]) == 0


# ---- going on ----


def test_continuing_predicts_only_what_is_missing(cohort, model, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    predict(cohort, out, model, "--save-probabilities")
    first, second = (out / f"{case}.nii.gz" for case in CASES)
    untouched = first.read_bytes(), first.stat().st_mtime_ns
    second.unlink()
    evaluated = []
    original = _Pipeline._run_networks
    monkeypatch.setattr(
        _Pipeline, "_run_networks", lambda self, case, *rest: evaluated.append(case) or original(self, case, *rest)
    )
    assert predict(cohort, out, model, "--save-probabilities", "--continue") == 0
    assert evaluated == [CASES[1]] and second.is_file()
    assert (first.read_bytes(), first.stat().st_mtime_ns) == untouched
    assert "1 was there" in capsys.readouterr().out
    assert len((out / "postprocessing_changes.csv").read_text().splitlines()) == 1 + 2 * 2  # of both cases
    (out / f"{CASES[0]}.npz").unlink()
    assert predict(cohort, out, model, "--save-probabilities", "--continue") == 0
    assert evaluated == [CASES[1], CASES[0]]


def test_a_run_json_that_takes_long_to_write_is_not_written_for_every_case(tmp_path, monkeypatch):
    monkeypatch.setattr(run_file, "CHEAP_SECONDS", -1.0)
    monkeypatch.setattr(run_file, "MAX_SHARE", 1e-9)  # until the end of time
    made = Output(CaseWriter(tmp_path, NNUNET_CONVENTION), {})

    def written():
        return list(json.loads((tmp_path / "run.json").read_text())["cases"])

    for case in ("a", "b"):
        (tmp_path / f"{case}.nii.gz").touch()
        made.note(CaseOutcome(case, {"warnings": []}))
    assert written() == ["a"]
    made.run_file.close()
    assert written() == ["a", "b"]


def test_continuing_with_other_settings_is_refused(cohort, model, tmp_path, capsys):
    out = tmp_path / "out"
    predict(cohort, out, model)
    assert predict(cohort, out, model, "--continue", "--wt", "0.2") == 2
    assert "(post-processing (--config, --preset or a flag of it): wt then 0.45, now 0.2);" in capsys.readouterr().err
    (out / "run.json").unlink()
    assert predict(cohort, out, model, "--continue") == 2
    assert "no run.json" in capsys.readouterr().err


def stopping_at(case_id, error, original=_Pipeline._run_networks):
    def evaluate(self, case, *rest):
        if case == case_id:
            raise error
        return original(self, case, *rest)

    return evaluate


def test_a_stopped_run_leaves_what_was_finished_and_nothing_half(cohort, model, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(_Pipeline, "_run_networks", stopping_at(CASES[1], KeyboardInterrupt()))
        assert predict(cohort, tmp_path / "out", model) == 130
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{CASES[0]}.nii.gz", "run.json"]
    leftover = tmp_path / "out" / f".0123abcd.{CASES[1]}.nii.gz"  # of a kill -9
    leftover.write_bytes(b"half")
    assert predict(cohort, tmp_path / "out", model, "--continue") == 0
    assert (tmp_path / "out" / f"{CASES[1]}.nii.gz").is_file() and not leftover.exists()


def test_a_fault_of_ours_does_not_stop_the_others_and_is_not_hidden(cohort, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_Pipeline, "_run_networks", stopping_at(CASES[0], RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        predict(cohort, tmp_path / "out", model)
    assert f"{CASES[0]}: failed unexpectedly: RuntimeError: a bug" in capsys.readouterr().out
    assert (tmp_path / "out" / f"{CASES[1]}.nii.gz").is_file()


def test_what_an_earlier_run_made_otherwise_is_not_finished(cohort, model, tmp_path):
    out = tmp_path / "out"
    predict(cohort, out, model, "--wt", "0.9")
    earlier = (out / f"{CASES[1]}.nii.gz").read_bytes()
    assert predict(cohort / CASES[0], out, model, "--wt", "0.2", "--overwrite") == 0
    assert predict(cohort, out, model, "--wt", "0.2", "--continue") == 0
    assert (out / f"{CASES[1]}.nii.gz").read_bytes() != earlier
    labels, _ = expected(cohort, CASES[1], model, postprocessing=PostprocessingConfig(wt=0.2))
    np.testing.assert_array_equal(values_of(out / f"{CASES[1]}.nii.gz"), labels)


def test_probabilities_of_an_earlier_run_are_not_taken_for_those_of_this_one(cohort, model, tmp_path):
    out = tmp_path / "out"
    predict(cohort, out, model, "--average", "logits", "--save-probabilities")
    predict(cohort, out, model)
    assert predict(cohort, out, model, "--save-probabilities", "--continue") == 0
    saved = np.load(out / f"{CASES[0]}.npz")["probabilities"]
    np.testing.assert_allclose(saved, expected(cohort, CASES[0], model)[1], atol=1e-6)


def test_other_weights_in_the_same_place_are_noticed(cohort, model, tmp_path, capsys):
    predict(cohort, tmp_path / "out", model, "-f", "0")
    shutil.copy(model / "fold_1" / "checkpoint_final.pth", model / "fold_0" / "checkpoint_final.pth")
    assert predict(cohort, tmp_path / "out", model, "-f", "0", "--continue") == 2
    assert "other settings (weights of the model: trained again since then)" in capsys.readouterr().err


# ---- images are safe ----


def test_a_label_map_never_replaces_an_image(cohort, model, tmp_path, capsys):
    folder = cohort / CASES[0]
    t1 = folder / f"{CASES[0]}_t1.nii.gz"
    before = t1.read_bytes()
    files = [argument for name in MODALITIES for argument in (f"--{name}", str(folder / f"{CASES[0]}_{name}.nii.gz"))]
    assert main(["predict", *files, "-o", str(t1), "-m", str(model)]) == 2
    assert "would replace this image" in capsys.readouterr().err and t1.read_bytes() == before
    assert main(["predict", *files, "-o", str(tmp_path / "out"), "-m", str(model), "--no-tta"]) == 0
    assert (tmp_path / "out" / f"{CASES[0]}.nii.gz").is_file()  # named after the images


def test_a_4d_file_of_the_msd(cohort, model, tmp_path):
    """Its channels are FLAIR, T1, T1ce, T2; each must be itself, however the memory is used in between."""
    volumes = [values_of(cohort / CASES[0] / f"{CASES[0]}_{name}.nii.gz") for name in ("flair", "t1", "t1ce", "t2")]
    write(tmp_path / "msd" / "imagesTs" / "BRATS_001.nii.gz", np.stack(volumes))
    assert predict(tmp_path / "msd", tmp_path / "out", model) == 0
    labels, _ = expected(cohort, CASES[0], model)
    np.testing.assert_array_equal(values_of(tmp_path / "out" / "BRATS_001.nii.gz"), labels)
    case_set = find_prediction_cases([tmp_path / "msd"], ["T1", "T1ce", "T2", "FLAIR"])
    loaded = load_case(case_set.cases[0], case_set.edition, case_set.channels)
    np.testing.assert_array_equal(loaded.images, np.stack([*volumes[1:], volumes[0]]))


def test_opened_values_do_not_depend_on_images_that_are_gone(tmp_path):
    values = np.random.default_rng(0).integers(1, 99, (4, 40, 200, 200)).astype(np.int16)
    write(tmp_path / "imagesTs" / "BRATS_001.nii.gz", values)
    case_set = find_prediction_cases([tmp_path], ["T1", "T1ce", "T2", "FLAIR"])
    for _ in range(3):
        loaded = load_case(case_set.cases[0], case_set.edition, case_set.channels)
        np.testing.assert_array_equal(loaded.images, values[[1, 2, 3, 0]])


def test_folders_of_two_kinds_are_refused(cohort, images_ts, model, tmp_path, capsys):
    assert main(["predict", "-i", str(images_ts), str(cohort), "-o", str(tmp_path / "out"), "-m", str(model)]) == 2
    assert "one after the other" in capsys.readouterr().err
    assert predict(cohort, tmp_path / "out", model, "--edition", "nnunet") == 2


# ---- workers ----


@pytest.fixture
def worker(monkeypatch):
    """A thread in the place of a scheduler's workers, and a list: was each predictor made in the main thread?"""
    made, create = [], Predictor.__init__

    def counted(self, *args, **settings):
        made.append(threading.current_thread() is threading.main_thread())
        create(self, *args, **settings)

    monkeypatch.setattr(Predictor, "__init__", counted)
    monkeypatch.setattr(on_workers, "_kept", [])
    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(predict_command, "chosen_executor", lambda *_: nullcontext(pool))
        yield made, pool


def test_where_workers_predict_each_makes_one_predictor_and_this_process_none(cohort, model, tmp_path, worker):
    made, _ = worker
    flags = ("--precision", "fp32", "-device", "cpu", "--average", "logits", "--wt", "0.3")
    assert predict(cohort, tmp_path / "there", model, *flags, "--scheduler", "local:1") == 0
    assert made == [False]
    assert predict(cohort, tmp_path / "there", model, *flags, "--continue") == 0  # by the same settings
    there = json.loads((tmp_path / "there" / "run.json").read_text())
    assert there["precision"] == "float32" and there["cases"][CASES[0]]["device"] == "cpu"
    for case in CASES:
        labels, _ = expected(
            cohort, case, model, precision="fp32", average="logits", postprocessing=PostprocessingConfig(wt=0.3)
        )
        np.testing.assert_array_equal(values_of(tmp_path / "there" / f"{case}.nii.gz"), labels)


def test_models_are_checked_before_workers_are_asked(cohort, model, dataset, tmp_path, worker, capsys):
    made, pool = worker
    pool.submit = None  # nothing may come so far
    plans, dataset_json, _ = dataset
    stock = write_model(tmp_path / "stock", stock_plans(plans), dataset_json, trainer="nnUNetTrainer")
    damaged = json.loads((stock / "plans.json").read_text())
    damaged["configurations"]["3d_fullres"]["resampling_fn_data"] = "nothing"
    (stock / "plans.json").write_text(json.dumps(damaged))
    assert predict(cohort, tmp_path / "out", model, "-m", str(stock), "--scheduler", "local:1") == 2
    assert "plans.json: does not work" in capsys.readouterr().err
    assert made == [] and not (tmp_path / "out").exists()
