"""What cannot be predicted: each is named in a line, with exit code 2, and other cases are unharmed."""

import json
import re
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from brats_files import CASES, MODALITIES, replace_one, values_of, write
from models import predict

# ---- one bad case ----


def truncate(case):
    file = case / f"{case.name}_t1.nii.gz"
    file.write_bytes(file.read_bytes()[:-40])


BAD_CASES = {
    "missing modality": (lambda case: (case / f"{case.name}_t2.nii.gz").unlink(), r"_t2\.nii\.gz: missing"),
    "truncated": (truncate, r"_t1\.nii\.gz: damaged"),
    "other shape": (lambda case: replace_one(case, "flair", np.ones((5, 7, 8), np.int16)), "co-register"),
    "other spacing": (lambda case: replace_one(case, "flair", spacing=(2.0, 1.0, 1.0)), "co-register"),
    "empty": (lambda case: replace_one(case, "t1ce", np.zeros((6, 7, 8), np.int16)), "T1ce is zero everywhere"),
    "nan": (lambda case: replace_one(case, "t1ce", np.full((6, 7, 8), np.nan, np.float32)), "NaN"),
    "4-D": (lambda case: write(case / f"{case.name}_t1.nii.gz", np.ones((2, 6, 7, 8), np.int16)), "4 dimensions"),
    "not an image": (lambda case: (case / f"{case.name}_t1.nii.gz").write_text("hello"), "t1"),
}


@pytest.mark.parametrize("kind", BAD_CASES)
def test_a_bad_case_is_named_at_the_end_and_does_not_stop_the_others(cohort, model, tmp_path, capsys, kind, bad_input):
    spoil, named = BAD_CASES[kind]
    spoil(cohort / CASES[0])
    assert predict(cohort, tmp_path / "out", model) == 2
    error = capsys.readouterr().err
    assert CASES[0] in error and "1 case failed" in error and "Traceback" not in error
    assert re.search(named, error)
    bad_input("predict", f"case: {kind}", next(line for line in error.splitlines() if "error:" in line))
    assert (tmp_path / "out" / f"{CASES[1]}.nii.gz").is_file()
    assert not (tmp_path / "out" / f"{CASES[0]}.nii.gz").exists()
    assert json.loads((tmp_path / "out" / "run.json").read_text())["cases"][CASES[0]]["error"]


def test_an_extra_channel_is_named(images_ts, model, tmp_path, capsys):
    shutil.copy(images_ts / f"{CASES[0]}_0000.nii.gz", images_ts / f"{CASES[0]}_0004.nii.gz")
    assert predict(images_ts, tmp_path / "out", model) == 2
    error = capsys.readouterr().err
    assert f"{CASES[0]}_0004.nii.gz: the model has 4 channels" in error
    assert (tmp_path / "out" / f"{CASES[1]}.nii.gz").is_file()


def test_what_is_odd_is_said_and_predicted(cohort, model, tmp_path, capsys):
    case = cohort / CASES[0]
    replace_one(case, "flair", origin=(5.0, -239.0, 0.0))
    for modality in MODALITIES:
        values = values_of(cohort / CASES[1] / f"{CASES[1]}_{modality}.nii.gz") / np.float32(1e4)
        values[:, :3] = 0
        image = sitk.GetImageFromArray(values)
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
        write(cohort / CASES[1] / f"{CASES[1]}_{modality}.nii.gz", image, spacing=(1.0, 1.0, 2.0))
    assert predict(cohort, tmp_path / "out", model) == 0
    cases = json.loads((tmp_path / "out" / "run.json").read_text())["cases"]
    kinds = [{warning.partition(": ")[0] for warning in cases[name]["warnings"]} for name in CASES]
    assert kinds[0] == {"not skull-stripped?", "not co-registered?"}
    assert kinds[1] >= {
        "another spacing than in training", "intensities unlike training", "another orientation than BraTS'"
    }  # fmt: skip
    said = capsys.readouterr().out
    assert "warning: not co-registered?: 1 case" in said and "warning: intensities unlike training: 1 case" in said
    assert values_of(tmp_path / "out" / f"{CASES[1]}.nii.gz").shape == (6, 7, 8)


def test_one_image_given_as_two_modalities_is_said(cohort, model, tmp_path, capsys):
    case = cohort / CASES[0]
    shutil.copyfile(case / f"{case.name}_t1.nii.gz", case / f"{case.name}_t2.nii.gz")
    assert predict(cohort, tmp_path / "out", model) == 0
    said = capsys.readouterr().out
    assert f"same image twice: 1 case, {CASES[0]} (T1 and T2 are voxel for voxel the same" in said


# ---- nothing can be predicted ----


class RunsCode:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


def change_plans(model, change):
    plans = json.loads((model / "plans.json").read_text())
    change(plans["configurations"]["3d_fullres"])
    (model / "plans.json").write_text(json.dumps(plans))


def change_checkpoint(model, change):
    file = model / "fold_0" / "checkpoint_final.pth"
    content = torch.load(file)
    change(content)
    torch.save(content, file)


def contradict(model):
    content = json.loads((model / "dataset.json").read_text())
    (model / "dataset.json").write_text(json.dumps(content | {"regions_class_order": [1, 3, 2]}))


def edit_dataset(model):
    content = json.loads((model / "dataset.json").read_text())
    content["labels"] = {"background": 0, "ED": 1, "NCR": 2, "ET": 3}
    (model / "dataset.json").write_text(json.dumps(content))


BAD_MODELS = {
    "no folder": (shutil.rmtree, "no such folder"),
    "no plans.json": (lambda m: (m / "plans.json").unlink(), r"plans\.json: missing"),
    "broken plans.json": (lambda m: (m / "plans.json").write_text("{"), "not valid JSON"),
    "plans.json is a list": (lambda m: (m / "plans.json").write_text("[]"), "expected a JSON object"),
    "empty plans.json": (lambda m: (m / "plans.json").write_text("{}"), "not complete"),
    "no dataset.json": (lambda m: (m / "dataset.json").unlink(), r"dataset\.json: missing"),
    "plain labels": (edit_dataset, "plain labels"),
    "regions_class_order contradicts the regions": (contradict, r"make it \[1, 2, 3\]"),
    "no checkpoint": (lambda m: [shutil.rmtree(m / f"fold_{f}") for f in (0, 1)], "no checkpoint at all"),
    "truncated checkpoint": (
        lambda m: (m / "fold_0/checkpoint_final.pth").write_bytes((m / "fold_0/checkpoint_final.pth").read_bytes()[:-99]),
        "damaged",
    ),
    "not a checkpoint": (lambda m: torch.save({"a": 1}, m / "fold_0/checkpoint_final.pth"), "no network_weights"),
    "no trainer": (lambda m: change_checkpoint(m, lambda c: c.pop("trainer_name")), "does not say which trainer"),
    "unknown trainer": (
        lambda m: [
            torch.save(
                torch.load(m / f"fold_{f}/checkpoint_final.pth") | {"trainer_name": "Nobody"},
                m / f"fold_{f}/checkpoint_final.pth",
            )
            for f in (0, 1)
        ],
        "trainer Nobody cannot be built",
    ),
    "folds of two trainers": (
        lambda m: change_checkpoint(m, lambda c: c.update(trainer_name="ResUNetDSTrainerBCE")), "another trainer",
    ),
    "weights of another network": (
        lambda m: change_checkpoint(m, lambda c: c["network_weights"].pop("decoder.seg_layers.0.bias")),
        "weights are of another network",
    ),
    "foreign network": (
        lambda m: change_plans(m, lambda c: c["architecture"].update(network_class_name="os.system")), "os.system",
    ),
    "foreign part": (
        lambda m: change_plans(
            m, lambda c: c["architecture"].update(arch_kwargs={"nonlin": "subprocess.Popen"}, _kw_requires_import=["nonlin"])
        ),
        "subprocess.Popen",
    ),
    "out of the package": (
        lambda m: change_plans(
            m, lambda c: c["architecture"].update(
                arch_kwargs={"nonlin": "torch.nn.functional.torch.os.system"}, _kw_requires_import=["nonlin"]
            )
        ),
        "only layers of",
    ),
    "a function as network": (
        lambda m: change_plans(
            m, lambda c: c["architecture"].update(network_class_name="nnunet_resunet_ds.compute.precision.torch.hub.load")
        ),
        "only layers of",
    ),
    "unknown normalization": (
        lambda m: change_plans(m, lambda c: c.update(normalization_schemes=["Nothing"] * 4)), "does not work",
    ),
    "unknown resampling": (
        lambda m: change_plans(m, lambda c: c.update(resampling_fn_data="nothing")), "does not work",
    ),
    "odd patch size": (lambda m: change_plans(m, lambda c: c.update(patch_size=[17, 16, 16])), "does not work"),
    "no architecture": (lambda m: change_plans(m, lambda c: c.pop("architecture")), "plans.json"),
    "circular": (lambda m: change_plans(m, lambda c: c.update(inherits_from="3d_fullres")), "no whole configuration"),
    "no channels": (
        lambda m: (m / "dataset.json").write_text(
            json.dumps({k: v for k, v in json.loads((m / "dataset.json").read_text()).items() if k != "channel_names"})
        ),
        "not complete",
    ),
    "mirror axes": (
        lambda m: change_checkpoint(m, lambda c: c.update(inference_allowed_mirroring_axes=(-1,))), "mirrors axes",
    ),
    "a setting that is a list": (lambda m: (m / "postprocessing.json").write_text("[]"), "expected an object"),
    "two dimensions": (lambda m: change_plans(m, lambda c: c.update(patch_size=[16, 16])), "2-D"),
    "cascade": (lambda m: change_plans(m, lambda c: c.update(previous_stage="3d_lowres")), "cascade"),
    "bad thresholds": (lambda m: (m / "postprocessing.json").write_text('{"wt": 1.2}'), "wt must be a number from 0 to 1"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_MODELS)
def test_a_model_that_cannot_be_used_is_named(cohort, model, tmp_path, capsys, kind, bad_input):
    spoil, named = BAD_MODELS[kind]
    spoil(model)
    assert predict(cohort, tmp_path / "out", model) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "Traceback" not in error
    assert re.search(named, error), error
    bad_input("predict", f"model: {kind}", error)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not(cohort, model, tmp_path, capsys):
    file = model / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(file) | {"logging": RunsCode(tmp_path / "ran")}, file)
    assert predict(cohort, tmp_path / "out", model) == 2
    error = capsys.readouterr().err
    assert "refused" in error and len(error.splitlines()) == 1
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--wt", "1.5"], "wt must be"), (["-f", "7"], "fold 7"), (["-chk", "checkpoint_best.pth"], "checkpoint_best.pth"),
        (["--labels", "1999"], "no edition '1999'"), (["--edition", "1999"], "no edition"),
        (["--steps", "shrink"], "each of steps"), (["--config", "nowhere.json"], "no such file"),
        (["--precision", "fp16", "-device", "cpu"], "needs a GPU"), (["--t1", "x.nii.gz"], "either folders with -i"),
        (["--tile-step", "0"], "tile_step must be"), (["--tile-step", "1.5"], "tile_step must be"),
        (["--tile-step", "0.25", "--tiles", "whole"], "leave out either --tile-step or --tiles whole"),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be_are_named(cohort, model, tmp_path, capsys, flags, named):
    assert predict(cohort, tmp_path / "out", model, *flags) == 2
    error = capsys.readouterr().err
    assert named in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_named(cohort, model, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert predict(cohort, tmp_path / "out", model) == 2
    assert str(tmp_path / "out") in capsys.readouterr().err


def test_a_folder_without_cases_is_named(model, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert predict(tmp_path / "empty", tmp_path / "out", model) == 2
    assert "no BraTS case here" in capsys.readouterr().err


def test_channels_that_are_not_brats_need_nnunet_s_names(cohort, images_ts, model, tmp_path, capsys):
    content = json.loads((model / "dataset.json").read_text())
    content["channel_names"] = {"0": "a", "1": "b", "2": "c", "3": "d"}
    (model / "dataset.json").write_text(json.dumps(content))
    assert predict(cohort, tmp_path / "out", model) == 2
    assert "cannot be told" in capsys.readouterr().err
    assert predict(images_ts, tmp_path / "out", model) == 0
