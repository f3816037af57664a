"""A model in one file: it comes back number for number, and nothing harmful comes with it."""

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from brats_files import CASES
from models import predict

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.models.card import read_card
from nnunet_resunet_ds.training.checkpoint.safe_weights import read_safe_weights
from postprocessing import PostprocessingConfig
from postprocessing.model_config import PLANS_SECTION, keep_with_model

BIN = Path(sys.executable).parent
NAME = "ResUNetDSTrainer__nnUNetPlans__3d_fullres"


def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "elsewhere"))
    return tmp_path / "elsewhere" / "Dataset137_BraTS2021" / NAME


def packed(own, tmp_path, *flags):
    assert main(["package", "-m", str(own), "-o", str(tmp_path / "model.zip"), *flags]) == 0
    return tmp_path / "model.zip"


def label_maps(folder):
    return {file.name: file.read_bytes() for file in folder.glob("*.nii.gz")}


def test_an_installed_model_predicts_the_same_bytes(own, cohort, tmp_path, monkeypatch, capsys):
    archive = packed(own, tmp_path, "--licence", "CC BY 4.0", "--cite", "A. Nobody 2026")
    assert predict(cohort, tmp_path / "before", own, "--save-probabilities") == 0
    installed = elsewhere(tmp_path, monkeypatch)
    assert main(["install", str(archive)]) == 0
    assert f"installed {installed}" in capsys.readouterr().out
    assert load_model(installed).identities == load_model(own).identities
    assert predict(cohort, tmp_path / "after", installed, "--save-probabilities") == 0
    assert label_maps(tmp_path / "after") == label_maps(tmp_path / "before") != {}
    for case in CASES:
        one, other = (np.load(tmp_path / name / f"{case}.npz")["probabilities"] for name in ("before", "after"))
        np.testing.assert_array_equal(one, other)
    assert (
        "CC BY 4.0" in (installed / "MODEL_CARD.md").read_text()
        and "A. Nobody 2026" in (installed / "MODEL_CARD.md").read_text()
    )


def test_the_same_model_makes_the_same_file(own, tmp_path):
    first = packed(own, tmp_path).read_bytes()
    assert packed(own, tmp_path).read_bytes() == first


@pytest.mark.parametrize(("flags", "named"), [([], False), (["--case-ids"], True)])
def test_names_of_cases_leave_the_house_only_when_asked_for(own, tmp_path, flags, named):
    with zipfile.ZipFile(packed(own, tmp_path, *flags)) as archive:
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert (b"secret_1" in everything) == named


@pytest.fixture
def fine_tuned(own):
    """The model, as if its training had started from weights that had seen one of its two validation cases."""
    section = {"file": "x.pth", "weights": "0", "model": "the starter model", "output_layers": True}
    section["cases"] = ["secret_2", "secret_5"]
    plans = json.loads((own / "plans.json").read_text())
    (own / "plans.json").write_text(json.dumps({**plans, "resunet_ds_pretrained": section}))
    for fold, (train, val) in (("fold_0", (["secret_1"], ["secret_2"])), ("fold_1", (["secret_2"], ["secret_1"]))):
        weights = {"weights": "w", "validated": "w"}
        (own / fold / "run.json").write_text(json.dumps({"cases": {"train": train, "val": val}, **weights}))
    return own


def test_a_fine_tuned_model_says_what_it_started_from_and_what_that_had_seen(fine_tuned, tmp_path, monkeypatch, capsys):
    assert load_model(fine_tuned).training_cases == {"secret_1", "secret_2", "secret_5"}
    assert main(["models", "--json"]) == 0
    *_, listed = json.loads(capsys.readouterr().out)
    assert listed["n_seen_before"] == 1 and listed["n_cases"] == 2
    assert main(["models"]) == 0
    assert "started from had seen 1 of its validation cases" in capsys.readouterr().out
    packed(fine_tuned, tmp_path)
    assert "1 of which the starter model, where it started from, had seen" in capsys.readouterr().out
    installed = elsewhere(tmp_path, monkeypatch)
    assert main(["install", str(tmp_path / "model.zip")]) == 0
    card, text = read_card(installed), (installed / "MODEL_CARD.md").read_text()
    assert (card.started_from, card.n_seen_before) == ("the starter model", 1)
    assert "which had seen 1 of these cases" in text and "`resunet-ds plan --pretrained`" in text
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert not any(b"secret" in archive.read(name) for name in archive.namelist())


def test_nnunet_s_own_zip_goes_both_ways(own, tmp_path, monkeypatch):
    archive = packed(own, tmp_path, "--nnunet")
    stock = {**os.environ, "nnUNet_results": str(tmp_path / "stock")}
    (tmp_path / "stock").mkdir()
    subprocess.run(
        [BIN / "nnUNetv2_install_pretrained_model_from_zip", archive], env=stock, check=True, capture_output=True
    )
    theirs = tmp_path / "stock" / "Dataset137_BraTS2021" / NAME
    assert load_model(theirs).identities == load_model(own).identities
    export = [
        "-d",
        "137",
        "-o",
        str(tmp_path / "nnunet.zip"),
        "-c",
        "3d_fullres",
        "-f",
        "0",
        "1",
        "-tr",
        "ResUNetDSTrainer",
    ]
    subprocess.run(
        [BIN / "nnUNetv2_export_model_to_zip", *export], env=dict(os.environ), check=True, capture_output=True
    )
    installed = elsewhere(tmp_path, monkeypatch)
    assert main(["install", str(tmp_path / "nnunet.zip")]) == 0
    assert load_model(installed).identities == load_model(own).identities


def test_a_model_that_is_there_stays_unless_told(own, tmp_path, capsys):
    archive = packed(own, tmp_path)
    before = (own / "fold_0" / "checkpoint_final.pth").read_bytes()
    assert main(["install", str(archive)]) == 2
    assert "is there (fold_0, fold_1); move it away, or give --overwrite" in capsys.readouterr().err
    assert (own / "fold_0" / "checkpoint_final.pth").read_bytes() == before
    assert main(["install", str(archive), "--overwrite"]) == 0
    assert (own / "MODEL_CARD.md").is_file() and not list(own.parent.parent.glob(".install*"))


def change_json(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def with_plans_in_checkpoints(model):
    """Let each checkpoint note its plans, as nnU-Net's do."""
    plans = json.loads((model / "plans.json").read_text())
    for file in model.glob("fold_*/checkpoint_final.pth"):
        torch.save(torch.load(file) | {"init_args": {"configuration": "3d_fullres", "plans": plans}}, file)


def test_the_plans_of_the_weights_are_packed_not_those_that_were_changed_since(own, tmp_path, monkeypatch):
    with_plans_in_checkpoints(own)
    change_json(own / "plans.json", lambda plans: plans["configurations"]["3d_fullres"].update(spacing=[2.0] * 3))
    archive = packed(own, tmp_path)
    installed = elsewhere(tmp_path, monkeypatch)
    assert main(["install", str(archive)]) == 0
    assert list(load_model(installed).configuration.spacing) == [1.0] * 3


def test_plans_of_the_weights_are_tuned_as_the_model_is(own):
    """``predict --save-probabilities`` keeps them for ``postprocess``, which takes its settings from there."""
    with_plans_in_checkpoints(own)
    tuned = PostprocessingConfig(wt=0.35)
    keep_with_model(tuned, own)
    change_json(own / "plans.json", lambda plans: plans["configurations"]["3d_fullres"].update(spacing=[2.0] * 3))
    plans = load_model(own).plans.plans
    assert plans["configurations"]["3d_fullres"]["spacing"] == [1.0] * 3
    assert PostprocessingConfig.from_mapping(plans[PLANS_SECTION]) == tuned


def test_chosen_weights_are_final_where_they_are_installed_and_get_no_dice_of_others(own, tmp_path, monkeypatch):
    for fold in ("fold_0", "fold_1"):
        (own / fold / "checkpoint_final.pth").rename(own / fold / "checkpoint_best.pth")
    archive = packed(own, tmp_path, "-chk", "checkpoint_best.pth", "-f", "0")
    before = load_model(own, ["0"], "checkpoint_best.pth").identities
    installed = elsewhere(tmp_path, monkeypatch)
    assert main(["install", str(archive)]) == 0
    assert load_model(installed).identities == before
    assert read_card(installed).dice == {} and read_card(installed).folds == ()


def test_a_number_that_another_dataset_has_is_refused(own, tmp_path, monkeypatch, capsys):
    archive = packed(own, tmp_path)
    installed = elsewhere(tmp_path, monkeypatch)
    (installed.parents[1] / "Dataset137_Mine").mkdir(parents=True)
    assert main(["install", str(archive)]) == 2
    assert "its number is that of Dataset137_Mine" in capsys.readouterr().err


def test_a_disk_without_space_is_not_said_of_the_archive(own, tmp_path, monkeypatch, capsys):
    archive = tmp_path / "my model.zip"
    assert main(["package", "-m", str(own), "-o", str(archive)]) == 0
    assert f"resunet-ds install '{archive}'" in capsys.readouterr().out
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    assert main(["install", str(archive), "--overwrite"]) == 2
    error = capsys.readouterr().err
    assert "MB are free; make space on this disk" in error and "damaged" not in error


def test_a_zip_of_several_models_is_installed_whole_and_2d_is_left_out(own, tmp_path, capsys):
    low, flat = own.with_name(NAME.replace("fullres", "lowres")), own.with_name("nnUNetTrainer__nnUNetPlans__2d")
    for copy in (low, flat):
        shutil.copytree(own, copy)

    def rename(plans):
        plans["configurations"]["3d_lowres"] = plans["configurations"]["3d_fullres"]

    change_json(low / "plans.json", rename)
    for file in low.glob("fold_*/checkpoint_final.pth"):
        torch.save(torch.load(file) | {"init_args": {"configuration": "3d_lowres"}}, file)
    archive = tmp_path / "several.zip"
    with zipfile.ZipFile(archive, "w") as content:
        for file in (file for model in (own, low, flat) for file in model.rglob("*") if file.is_file()):
            content.write(file, file.relative_to(own.parents[1]))
    assert main(["install", str(archive), "--overwrite"]) == 0
    said = capsys.readouterr()
    assert said.out.count("installed ") == 2 and "nnUNetTrainer__nnUNetPlans__2d is 2-D" in said.err


# ---- files that are damaged or made to do harm ----


class RunsCode:
    def __reduce__(self):
        return (os.system, ("touch /tmp/harm",))


def repacked(archive, change):
    """Write the zip again with other contents: path → bytes, where None leaves a file out."""
    with zipfile.ZipFile(archive) as before:
        files = {name: before.read(name) for name in before.namelist()}
    files = {name: content for name, content in (files | change(files)).items() if content is not None}
    with zipfile.ZipFile(archive, "w") as after:
        for name, content in files.items():
            after.writestr(name, content)


def weights(files, fold=0):
    return next(name for name in files if f"fold_{fold}" in name)


def without_digests(files, **more):
    return {"package.json": None, **more}


def as_code(files):
    name = weights(files)
    stream = io.BytesIO()
    torch.save(RunsCode(), stream)
    return {"package.json": None, name: None, name.replace(".safetensors", ".pth"): stream.getvalue()}


def with_fold_all(files):
    stream = io.BytesIO()
    torch.save(RunsCode(), stream)
    name = weights(files).replace("fold_0", "fold_all").replace(".safetensors", ".pth")
    return {"package.json": None, name: stream.getvalue()}


def with_other_plans(files):
    name = next(name for name in files if name.endswith("plans.json"))
    return {"package.json": None, name: b"[]"}


HARMFUL = {
    "a fold all that runs code": (with_fold_all, "refused, it refers to"),
    "plans that are none": (with_other_plans, "expected a JSON object"),
    "another weight": (
        lambda files: {weights(files): files[weights(files)][:-1] + b"x"}, "is not the one that was packed",
    ),
    "a fold missing": (lambda files: {weights(files): None}, "is missing"),
    "weights cut short": (
        lambda files: {"package.json": None, weights(files): files[weights(files)][:200]}, "damaged",
    ),
    "no weights": (
        lambda files: {"package.json": None, weights(files): None, weights(files, 1): None}, "has no weights",
    ),
    "a checkpoint that runs code": (as_code, "refused, it refers to"),
    "no model": (lambda files: dict.fromkeys(files) | {"readme.txt": b"hello"}, "holds no model"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HARMFUL)
def test_what_is_damaged_or_harmful_is_refused(own, tmp_path, monkeypatch, capsys, bad_input, kind):
    change, answer = HARMFUL[kind]
    archive = packed(own, tmp_path)
    repacked(archive, change)
    installed = elsewhere(tmp_path, monkeypatch)
    capsys.readouterr()
    assert main(["install", str(archive)]) == 2
    error = capsys.readouterr().err
    assert answer in error and not Path("/tmp/harm").exists()
    assert not installed.exists() and not list(installed.parents[1].glob(".install*"))
    bad_input("install", kind, error)


NO_ZIP = "no zip"


def test_no_zip_is_refused(tmp_path, nnunet_folders, capsys, bad_input):
    (tmp_path / "model.zip").write_bytes(b"hello")
    assert main(["install", str(tmp_path / "model.zip")]) == 2
    bad_input("install", NO_ZIP, capsys.readouterr().err)


def test_files_outside_of_the_model_are_not_unpacked(own, tmp_path, monkeypatch):
    archive = packed(own, tmp_path)
    repacked(
        archive, lambda files: {"../escaped.txt": b"x", "/tmp/escaped.txt": b"x", "Dataset137_BraTS2021/evil.pkl": b"x"}
    )
    installed = elsewhere(tmp_path, monkeypatch)
    assert main(["install", str(archive)]) == 0
    names = {file.name for file in (tmp_path / "elsewhere").rglob("*") if file.is_file()}
    assert not names & {"escaped.txt", "evil.pkl"} and not (tmp_path / "escaped.txt").exists()
    assert installed.is_dir()


def test_safe_weights_without_names_are_read(own, tmp_path):
    with zipfile.ZipFile(packed(own, tmp_path)) as archive:
        archive.extractall(tmp_path / "content")
    (file, _) = sorted((tmp_path / "content").rglob("*.safetensors"))
    assert read_safe_weights(file)["resunet_ds"]["cases"] is None
    assert load_model(file.parent.parent).training_cases == frozenset()
