"""The doctor: each finding on machines made well and ill."""

import importlib
import inspect
import json
import math
import os
import shutil
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from nnunet_resunet_ds.base.nnunet_folders import NNUNET_FOLDERS
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.discovery import SEARCH_PATH_VARIABLE, trainer_folder
from nnunet_resunet_ds.doctor import (
    FAIL,
    OK,
    WARN,
    Finding,
    data,
    examination,
    installation,
    machine,
    nnunet_internals,
    worst,
)
from nnunet_resunet_ds.doctor.data import dataset as look_at_dataset
from nnunet_resunet_ds.doctor.data import space_needed
from nnunet_resunet_ds.doctor.installation import software
from nnunet_resunet_ds.doctor.nnunet_internals import internals

BROKEN = Finding(FAIL, "all", "is broken", "repair it")


# ---- software ----


def test_this_environment_has_what_the_distribution_asks_for():
    found = {finding.subject: finding for finding in software()}
    assert {finding.level for finding in found.values()} == {OK}
    assert found["nnunetv2"].text == metadata.version("nnunetv2")
    assert "monai" in found["extra comparison"].text
    assert not {"ruff", "extra dev", "extra test"} & set(found)


@pytest.mark.parametrize(
    ("name", "version", "level", "remedy"),
    [
        ("nnunetv2", "2.7.0", FAIL, "pip install 'nnunetv2<3,>=2.8.1'"),
        ("nnunetv2", "3.0", FAIL, "pip install 'nnunetv2<3,>=2.8.1'"),
        ("monai", "1.3", WARN, "pip install 'nnunet-resunet-ds[comparison]'"),
        ("tqdm", None, FAIL, "pip install 'tqdm>=4.60'"),
    ],
)
def test_a_package_of_another_version_is_named_with_the_command(name, version, level, remedy, monkeypatch):
    known = metadata.version

    def installed(asked):
        if asked != name:
            return known(asked)
        if version is None:
            raise metadata.PackageNotFoundError(asked)
        return version

    monkeypatch.setattr(metadata, "version", installed)
    (found,) = [finding for finding in software() if finding.level != OK]
    assert found.level == level
    assert remedy in found.remedy
    assert name in f"{found.subject} {found.text}"


@pytest.mark.parametrize(
    ("extra", "absent"), [("comparison", ["monai"]), ("export", ["onnx", "onnxruntime", "onnxscript"])]
)
def test_an_extra_that_is_not_installed_is_no_fault(extra, absent, monkeypatch):
    """Whatever it shares with the package itself: ``export`` needs PyTorch, too."""
    known = metadata.version

    def installed(asked):
        if asked in absent:
            raise metadata.PackageNotFoundError(asked)
        return known(asked)

    monkeypatch.setattr(metadata, "version", installed)
    found = {finding.subject: finding for finding in software()}[f"extra {extra}"]
    assert found.level == OK
    assert sorted(found.text.split("; ")) == [f"{name} is not installed" for name in absent]
    assert f"pip install 'nnunet-resunet-ds[{extra}]'" in found.remedy


# ---- trainer ----


def test_a_spawned_worker_finds_the_trainer():
    (found,) = installation.trainer_search()
    assert found == Finding(OK, "trainer", "a spawned worker finds ResUNetDSTrainer")


def test_without_our_folder_in_the_search_path_the_line_that_brings_it_back_is_given(monkeypatch):
    monkeypatch.setenv(SEARCH_PATH_VARIABLE, "")
    monkeypatch.setenv("RESUNET_DS_NO_DISCOVERY", "1")
    (found,) = installation.trainer_search()
    assert (found.level, 'eval "$(resunet-ds env)"' in found.remedy) == (FAIL, True)
    assert "RESUNET_DS_NO_DISCOVERY is set" in found.text


@pytest.mark.parametrize(
    ("code", "level", "said"),
    [
        ("import of_another_environment", FAIL, "No module named 'of_another_environment'"),
        pytest.param("import os\nos._exit(9)", FAIL, "a spawned worker died", marks=pytest.mark.long),
        pytest.param(
            "from nnunet_resunet_ds.trainer import ResUNetDSTrainer as Ours\nclass ResUNetDSTrainer(Ours): pass",
            WARN,
            "is found in mine",
            marks=pytest.mark.long,
        ),
    ],
)
def test_another_folder_of_the_search_path_that_is_in_the_way_is_named(code, level, said, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.setenv(SEARCH_PATH_VARIABLE, os.pathsep.join([str(tmp_path), trainer_folder()]))
    (found,) = installation.trainer_search()
    assert (found.level, said in found.text, bool(found.remedy)) == (level, True, True), found


def test_an_entry_that_is_no_folder_is_named(monkeypatch):
    monkeypatch.setenv(SEARCH_PATH_VARIABLE, os.pathsep.join(["/no/where", trainer_folder()]))
    monkeypatch.setattr(installation, "_as_spawned_worker", lambda: BROKEN)
    found, _ = installation.trainer_search()
    assert (found.level, "/no/where" in found.text) == (WARN, True)


# ---- nnU-Net ----


def test_a_changed_internal_of_nnunet_fails(monkeypatch):
    assert internals().level == OK
    monkeypatch.setattr("nnunetv2.utilities.collate_outputs.collate_outputs", lambda outputs, more: None)
    found = internals()
    assert found.level == FAIL
    assert "collate_outputs takes (outputs more) instead of (outputs)" in found.text


# ---- folders ----


def test_three_writable_folders_with_space_are_ok(nnunet_folders):
    assert [finding.level for finding in data.folders(0.0)] == [OK] * 3


def test_the_starter_model_needs_none_of_them(nnunet_folders, monkeypatch):
    for kind in ("raw", "preprocessed", "results"):
        monkeypatch.delenv(f"nnUNet_{kind}")
    assert [finding.level for finding in data.folders_for(None)] == [WARN] * 3
    monkeypatch.setenv("nnUNet_raw", str(nnunet_folders))
    assert [finding.level for finding in data.folders_for(137)][1:] == [FAIL, FAIL]


def test_folders_that_are_unset_missing_files_or_read_only_are_named(nnunet_folders, monkeypatch):
    monkeypatch.delenv("nnUNet_raw")
    monkeypatch.setenv("nnUNet_preprocessed", str(nnunet_folders / "nowhere"))
    raw, preprocessed, results = data.folders()
    assert (raw.level, raw.text[:10], "export nnUNet_raw=" in raw.remedy) == (FAIL, "is not set", True)
    assert (preprocessed.level, "it is made when it is needed" in preprocessed.text) == (WARN, True)
    (nnunet_folders / "file").touch()
    monkeypatch.setenv("nnUNet_raw", str(nnunet_folders / "file"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    raw, _, results = data.folders()
    assert "is a file" in raw.text
    assert "cannot be written to" in results.text


def test_space_is_compared_with_what_the_dataset_needs(nnunet_folders, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=6 * 2**30))
    assert [finding.level for finding in data.folders()] == [OK] * 3
    levels = [finding.level for finding in data.folders(space_needed=7.0 * 2**30)]
    assert levels == [OK, WARN, OK]


def test_space_needed_is_that_of_cases_not_yet_preprocessed(dataset, images_ts, nnunet_folders):
    assert space_needed(137) is None  # there is no raw dataset
    raw = nnunet_folders / "nnUNet_raw" / "Dataset137_BraTS2021"
    raw.mkdir()
    shutil.copytree(images_ts, raw / "imagesTr")
    sizes = {path.name: path.stat().st_size for path in images_ts.iterdir()}
    assert space_needed(137) == pytest.approx(2 * sum(sizes.values()))
    done = dataset[2] / "nnUNetPlans_3d_fullres"
    done.mkdir()
    (done / "BraTS2021_00000.pkl").touch()
    left = sum(size for name, size in sizes.items() if name.startswith("BraTS2021_00003"))
    assert space_needed(137) == pytest.approx(2 * left)


# ---- dataset and model ----


def levels_and_texts(findings):
    return [(finding.level, finding.text) for finding in findings]


def test_each_stage_of_a_dataset_names_the_next_command(dataset, nnunet_folders):
    plans, _, folder = dataset
    raw, preprocessed, results = look_at_dataset(137)
    assert (raw.level, raw.remedy) == (WARN, "resunet-ds convert FOLDER -d 137")
    assert (preprocessed.level, "nnUNetPlans.json: no such file" in preprocessed.text) == (FAIL, True)
    assert (results.level, results.remedy) == (WARN, "nnUNetv2_train 137 3d_fullres 0 -tr ResUNetDSTrainer")
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    _, preprocessed, _ = look_at_dataset(137)
    assert "0 of 5 cases are preprocessed" in preprocessed.text
    assert "nnUNetv2_plan_and_preprocess -d 137 -c 3d_fullres" in preprocessed.remedy
    (folder / "nnUNetPlans_3d_fullres").mkdir()
    for number in range(5):
        (folder / "nnUNetPlans_3d_fullres" / f"case{number}.pkl").touch()
    _, preprocessed, _ = look_at_dataset(137)
    assert (preprocessed.level, "5 cases preprocessed" in preprocessed.text) == (OK, True)
    fingerprint = {"spacings": [[1.02, 1.0, 1.0]] * 5, "shapes_after_crop": [[135, 163, 137]] * 5}
    (folder / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    _, preprocessed, _ = look_at_dataset(137)
    assert preprocessed.level == OK
    assert "5 of 5 cases are resampled, for example from 1.02 × 1 × 1 to 1 × 1 × 1 mm" in preprocessed.text
    plans["configurations"]["3d_fullres"]["use_mask_for_norm"] = [False] * 4
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    _, preprocessed, _ = look_at_dataset(137)
    assert (preprocessed.level, "The network gets no salient channel" in preprocessed.text) == (OK, True)


def test_a_raw_dataset_is_counted(dataset, nnunet_folders, images_ts):
    raw = nnunet_folders / "nnUNet_raw" / "Dataset137_BraTS2021"
    raw.mkdir()
    shutil.copy(dataset[2] / "dataset.json", raw)
    shutil.copytree(images_ts, raw / "imagesTr")
    found, *_ = look_at_dataset(137)
    assert (found.level, "8 images, and dataset.json says 20" in found.text) == (FAIL, True)
    shutil.copytree(raw, raw.with_name("Dataset137_Twin"))
    found, *_ = look_at_dataset(137)
    assert "has several names: Dataset137_BraTS2021, Dataset137_Twin" in found.text


def test_trained_models_are_listed_with_their_folds(nnunet_folders):
    results = nnunet_folders / "nnUNet_results" / "Dataset137_BraTS2021"
    model = results / "ResUNetDSTrainer__nnUNetPlans__3d_fullres"
    for fold, name in ((0, "final"), (1, "latest")):
        (model / f"fold_{fold}").mkdir(parents=True)
        (model / f"fold_{fold}" / f"checkpoint_{name}.pth").touch()
    *_, found = look_at_dataset(137)
    assert (found.level, found.text) == (OK, f"{model.name} (fold_0 finished; fold_1 begun)")


# ---- the command ----


def run(capsys, *arguments):
    code = main(["doctor", *arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def replace_examinations(monkeypatch, look):
    """Put one function in the place of all that need no dataset, but for the folders, which find nothing."""
    for module, name in (
        (installation, "software"),
        (installation, "trainer_search"),
        (nnunet_internals, "internals"),
        (machine, "hardware"),
    ):
        monkeypatch.setattr(module, name, look)
    monkeypatch.setattr(data, "folders_for", lambda dataset_id: [])


def test_the_command_as_json_on_a_model(model, nnunet_folders, monkeypatch, capsys):
    monkeypatch.setattr(installation, "trainer_search", lambda: [])  # has tests of its own
    code, out, _ = run(capsys, "-m", str(model), "-d", "137", "--no-speed", "--json")
    content = json.loads(out)
    (found,) = [finding for finding in content["findings"] if finding["subject"].startswith("model ")]
    assert (found["level"], found["remedy"]) == (OK, None)
    assert found["text"] == "ResUNetDSTrainer, ResUNetDS, patch 16×16×16, fold 0, 1, the paper's post-processing"
    assert (content["worst"], code) == (FAIL, 2)  # dataset 137 has no plans here


def test_text_has_the_remedy_below_and_the_exit_code_says_whether_anything_fails(tmp_path, monkeypatch, capsys):
    replace_examinations(monkeypatch, lambda: [Finding(OK, "thing", "works")])
    monkeypatch.setattr(data, "folders_for", lambda dataset_id: [Finding(WARN, "disk", "is small", "make space")])
    code, out, _ = run(capsys, "--no-speed")
    assert code == 0
    assert out.splitlines()[-3:] == ["warn  disk: is small", "      → make space", "ok    thing: works"] or (
        "warn  disk: is small\n      → make space\n" in out
    )
    assert out.splitlines()[-1] == "4 ok, 1 warn, 0 fail"
    code, out, err = run(capsys, "--no-speed", "-m", str(tmp_path / "nowhere"))
    assert code == 2
    assert "no such folder" in out
    assert err.strip().splitlines()[-1].startswith("resunet-ds doctor: error: 1 of 6 findings fail")


def test_a_look_that_breaks_is_a_finding_and_stops_no_other(monkeypatch):
    def broken():
        yield Finding(OK, "first", "works")
        msg = "lib.so.1: cannot open shared object file"
        raise ImportError(msg)

    replace_examinations(monkeypatch, lambda: [])
    monkeypatch.setattr(machine, "hardware", broken)
    first, second = examination.examine(measure_speed=False)
    assert first.level == OK
    assert (second.level, second.subject) == (FAIL, "hardware")
    assert "ImportError: lib.so.1" in second.text
    assert worst([first, second]) == FAIL


def test_json_is_all_that_is_printed_even_where_nnunet_talks(monkeypatch, capsys):
    def talkative():
        print("nnUNet_raw is not defined and nnU-Net can only be used on data ...")  # noqa: T201
        return [Finding(OK, "thing", "works")]

    replace_examinations(monkeypatch, talkative)
    _, out, _ = run(capsys, "--no-speed", "--json")
    assert len(json.loads(out)["findings"]) == 4


def test_every_examination_names_a_function():
    planned = list(examination.examinations(137, [Path("model")], measure_speed=True))
    assert len(planned) == 8
    for each in planned:
        module = importlib.import_module(f"nnunet_resunet_ds.doctor.{each.module}")
        inspect.signature(getattr(module, each.function)).bind(*each.arguments)


def test_every_folder_of_nnunet_has_a_least_space():
    assert set(data.LEAST_SPACE) == set(NNUNET_FOLDERS)
    assert all(math.isfinite(size) for size in data.LEAST_SPACE.values())
    assert Path(trainer_folder()).is_dir()


def test_the_starter_model_has_its_name_here_too(capsys):
    code, out, _ = run(capsys, "--no-speed", "-m", "starter")
    assert code == 0 and "ok    model starter_model: ResUNetDSTrainer" in out
