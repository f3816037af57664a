"""``resunet-ds ensemble`` as its users type it: label maps of any origin, and probabilities."""

import json
import pickle
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import painted, values_of

from nnunet_resunet_ds.base.files import write_json
from nnunet_resunet_ds.base.reader_space import reader_properties
from nnunet_resunet_ds.base.run_file import RunFile
from nnunet_resunet_ds.cli import main
from postprocessing import PostprocessingConfig, postprocess

SHAPE = (5, 6, 7)
CASES = ("BraTS-GLI-00001-000", "BraTS-GLI-00002-000")
FAILING = OTHER_GRID, LACKING = "a case on another grid", "a case that one folder lacks"
DATASET_JSON = {
    "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]},
    "regions_class_order": [1, 2, 3],
}


def labels_of(seed):
    return np.random.default_rng(seed).integers(0, 4, SHAPE).astype(np.uint8)


def write(folder, case, values, *, spacing=(1.0, 1.0, 1.0)):
    folder.mkdir(exist_ok=True)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(folder / f"{case}.nii.gz"))


@pytest.fixture
def folders(tmp_path):
    """Three folders of two cases: of nnU-Net's values, of nnU-Net's, of BraTS 2021's (ED 2, NCR 1, ET 4)."""
    to_2021 = np.array([0, 2, 1, 4], np.uint8)
    for number, name in enumerate("abc"):
        for case_number, case in enumerate(CASES):
            labels = labels_of(10 * number + case_number)
            write(tmp_path / name, case, to_2021[labels] if name == "c" else labels)
        if name != "c":
            write_json(DATASET_JSON, tmp_path / name / "dataset.json")
        else:
            write_json({"labels": "2021", "cases": {}}, tmp_path / name / "run.json")
    return tmp_path


def ensemble(folder, *flags, names="abc"):
    return main(["ensemble", *(str(folder / name) for name in names), "-o", str(folder / "out"), *flags])


def test_folders_of_different_values_are_joined_in_any_values(folders, capsys):
    in_all = ("--input-labels", "nnunet", "nnunet", "2021")
    assert ensemble(folders, *in_all, "--labels", "2023-gli") == 0
    said = capsys.readouterr().out
    assert "joined by majority" in said and "with the values of BraTS 2021, as you said" in said
    for case_number, case in enumerate(CASES):
        found = [labels_of(10 * number + case_number) for number in range(3)]
        expected = np.zeros(SHAPE, np.uint8)
        for least, raw in ((1, 2), (2, 1), (3, 3)):  # ED 2, NCR 1, ET 3 in BraTS 2023; order of tissues 1 < 2 < 3
            expected[sum((labels >= least).astype(int) for labels in found) >= 2] = raw
        np.testing.assert_array_equal(values_of(folders / "out" / f"{case}.nii.gz"), expected)
    run = json.loads((folders / "out" / "run.json").read_text())
    assert run["labels"] == "2023-gli" and run["method"] == "majority"
    assert [member["labels"] for member in run["members"]] == ["nnunet", "nnunet", "2021"]


def test_the_next_command_knows_the_values(folders, tmp_path):
    """evaluate reads run.json, so that two formats of the same labels score 1."""
    told = ("--input-labels", "nnunet", "nnunet", "2021")
    assert ensemble(folders, *told, "--labels", "2023-gli") == 0
    (folders / "out").rename(folders / "in_2023")
    assert ensemble(folders, *told) == 0
    metrics = tmp_path / "metrics.json"
    assert main(["evaluate", "-ref", str(folders / "in_2023"), "-pred", str(folders / "out"), "-o", str(metrics)]) == 0
    cases = json.loads(metrics.read_text())["cases"]
    assert {scores["dice"] for regions in cases.values() for scores in regions.values()} == {1.0}


def write_probabilities(folder, seed):
    folder.mkdir(exist_ok=True)
    for number, case in enumerate(CASES):
        values = np.random.default_rng((seed, number)).random((3, *SHAPE), np.float32)
        write(folder, case, painted(values))
        np.savez(folder / f"{case}.npz", probabilities=values)
    write_json(DATASET_JSON, folder / "dataset.json")


def test_the_mean_of_probabilities_is_weighted_and_goes_on_to_postprocess(tmp_path, capsys):
    for seed, name in enumerate("ab"):
        write_probabilities(tmp_path / name, seed)
    assert ensemble(tmp_path, "--weights", "3", "1", "--save-probabilities", names="ab") == 0
    assert "joined by mean" in capsys.readouterr().out
    config = PostprocessingConfig.preset("none")
    for number, case in enumerate(CASES):
        first, second = (np.random.default_rng((seed, number)).random((3, *SHAPE), np.float32) for seed in range(2))
        mean = 0.75 * first + 0.25 * second
        stored = np.load(tmp_path / "out" / f"{case}.npz")["probabilities"]
        np.testing.assert_allclose(stored, mean, atol=1e-6)
        np.testing.assert_array_equal(values_of(tmp_path / "out" / f"{case}.nii.gz"), postprocess(stored, config))
    arguments = ["postprocess", "-i", str(tmp_path / "out"), "-o", str(tmp_path / "labels"), "--preset", "none"]
    assert main(arguments) == 0
    for case in CASES:
        joint, again = (values_of(tmp_path / name / f"{case}.nii.gz") for name in ("out", "labels"))
        np.testing.assert_array_equal(joint, again)


def test_how_the_reader_of_an_earlier_prediction_turned_axes_is_not_taken_for_this_one(tmp_path):
    """Its properties lie next to the probabilities, and plans.json of its model may name another reader."""
    for seed, name in enumerate("ab"):
        write_probabilities(tmp_path / name, seed)
    (tmp_path / "out").mkdir()
    turned = reader_properties("SimpleITKIOWithReorient", sitk.ReadImage(tmp_path / "a" / f"{CASES[0]}.nii.gz"))
    (tmp_path / "out" / f"{CASES[0]}.pkl").write_bytes(pickle.dumps(turned))
    write_json({"image_reader_writer": "SimpleITKIOWithReorient"}, tmp_path / "out" / "plans.json")
    assert ensemble(tmp_path, "--save-probabilities", names="ab") == 0
    again = ["postprocess", "-i", str(tmp_path / "out"), "-o", str(tmp_path / "labels"), "--preset", "none"]
    assert main(again) == 0
    for case in CASES:
        joint, labels = (values_of(tmp_path / name / f"{case}.nii.gz") for name in ("out", "labels"))
        np.testing.assert_array_equal(joint, labels)
    assert ensemble(tmp_path, "--method", "majority", "--overwrite", names="ab") == 0
    assert not [*(tmp_path / "out").glob("*.npz"), *(tmp_path / "out").glob("*.pkl")]


@pytest.mark.parametrize("order", ["cb", "bc"])
@pytest.mark.parametrize("labels", ["nnunet", "2021"])
def test_probabilities_of_a_model_with_other_values_are_painted_in_the_values_asked_for(tmp_path, order, labels):
    """C was trained on the values of BraTS 2023, in which 1 is necrosis and 2 oedema."""
    write_probabilities(tmp_path / "b", seed=1)
    write_probabilities(tmp_path / "c", seed=2)
    own = {"whole tumor": [1, 2, 3], "tumor core": [1, 3], "enhancing tumor": [3]}
    of_2023 = {"labels": {"background": 0, **own}, "regions_class_order": [2, 1, 3]}
    write_json(of_2023, tmp_path / "c" / "dataset.json")
    for case in CASES:
        write(tmp_path / "c", case, np.array([0, 2, 1, 3], np.uint8)[values_of(tmp_path / "c" / f"{case}.nii.gz")])
    told = {"b": "nnunet", "c": "2023-gli"}
    flags = ["--input-labels", *(told[name] for name in order), "--labels", labels, "--save-probabilities"]
    assert ensemble(tmp_path, *flags, names=order) == 0
    values = np.array([0, 1, 2, 3] if labels == "nnunet" else [0, 2, 1, 4], np.uint8)
    for number, case in enumerate(CASES):
        one, other = (np.random.default_rng((seed, number)).random((3, *SHAPE), np.float32) for seed in (1, 2))
        joint = postprocess((one + other) / 2, PostprocessingConfig.preset("none"))
        np.testing.assert_array_equal(values_of(tmp_path / "out" / f"{case}.nii.gz"), values[joint])
    written = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert list(written["labels"].values())[1:] == [[1, 2, 3], [2, 3], [3]]
    assert main(["postprocess", "-i", str(tmp_path / "out"), "-o", str(tmp_path / "labels"), "--preset", "none"]) == 0


def test_probabilities_in_another_order_of_regions_are_refused(tmp_path, capsys):
    """The label maps of C tell nothing of the order of its outputs; its dataset.json does."""
    for seed, name in enumerate("bc"):
        write_probabilities(tmp_path / name, seed)
    turned = {"background": 0, "tumor core": [1, 3], "whole tumor": [1, 2, 3], "enhancing tumor": [3]}
    write_json({"labels": turned, "regions_class_order": [1, 2, 3]}, tmp_path / "c" / "dataset.json")
    assert ensemble(tmp_path, "--input-labels", "nnunet", "2023-gli", "--method", "mean", names="bc") == 2
    assert "c/dataset.json" in capsys.readouterr().err


def test_probabilities_that_an_earlier_prediction_left_are_not_joined(tmp_path, capsys):
    for seed, name in enumerate("ab"):
        write_probabilities(tmp_path / name, seed)
    (tmp_path / "b" / f"{CASES[0]}.nii.gz").write_bytes((tmp_path / "a" / f"{CASES[0]}.nii.gz").read_bytes())
    assert ensemble(tmp_path, names="ab") == 2
    error = capsys.readouterr().err
    assert f"b/{CASES[0]}.npz: is not of the label map next to it" in error and "1 case failed, 1 written" in error


def test_post_processing_into_a_folder_of_other_probabilities_does_not_make_them_its_own(tmp_path, capsys):
    for seed, name in enumerate("ab"):
        write_probabilities(tmp_path / name, seed)
    paper = ["postprocess", "-i", str(tmp_path / "b"), "-o", str(tmp_path / "a")]
    assert main(paper) == 0
    assert main(["postprocess", "-i", str(tmp_path / "a"), "-o", str(tmp_path / "again")]) == 2
    assert f"{CASES[0]}.npz: is not of the label map next to it" in capsys.readouterr().err
    assert ensemble(tmp_path, "--method", "mean", names="ab") == 2


def test_a_case_on_another_grid_or_missing_fails_and_the_others_are_written(folders, capsys, bad_input):
    write(folders / "b", CASES[0], labels_of(0), spacing=(1.0, 1.0, 2.0))
    (folders / "a" / "BraTS-GLI-00003-000.nii.gz").write_bytes((folders / "a" / f"{CASES[1]}.nii.gz").read_bytes())
    assert ensemble(folders, "--input-labels", "nnunet", "nnunet", "2021") == 2
    error = capsys.readouterr().err
    assert "b/BraTS-GLI-00001-000.nii.gz: spacing (1, 1, 2) instead of (1, 1, 1)" in error
    assert "BraTS-GLI-00003-000: is not in" in error and "2 cases failed, 1 written" in error
    lines = error.splitlines()
    bad_input("ensemble", OTHER_GRID, next(line for line in lines if "another grid" in line))
    bad_input("ensemble", LACKING, next(line for line in lines if "is not in" in line))
    assert [path.name for path in (folders / "out").glob("*.nii.gz")] == [f"{CASES[1]}.nii.gz"]


BAD = {
    "one folder": (("a",), (), "two folders or more"),
    "a folder twice": (("a", "a"), (), "two folders or more"),
    "weights for other folders": (("a", "b"), ("--weights", "1", "2", "3"), "one for each folder"),
    "weights of 0": (("a", "b"), ("--weights", "0", "0"), "all 0"),
    "a negative weight": (("a", "b"), ("--weights", "-1", "2"), "each of --weights must be"),
    "weights for STAPLE": (("a", "b"), ("--weights", "1", "2", "--method", "staple"), "takes no weights"),
    "no probabilities": (("a", "b"), ("--method", "mean"), "is not there; predict with --save_probabilities"),
    "probabilities of votes": (("a", "b"), ("--save-probabilities",), "with --method mean"),
    "values that an edition does not have": (
        ("a", "c"), ("--input-labels", "2023-gli", "2023-gli"), "label values 4 are not among",
    ),
    "values that nothing declares": (("a", "plain"), (), "nothing says what the values"),
    "things of other kinds": (("a", "b"), ("--input-labels", "nnunet", "menrt"), "label different things"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_joined_is_named(folders, capsys, kind, bad_input):
    names, flags, named = BAD[kind]
    write(folders / "plain", "case_1", labels_of(0))
    assert ensemble(folders, *flags, names=names) == 2
    error = capsys.readouterr().err
    assert named in error and "Traceback" not in error
    bad_input("ensemble", kind, next(line for line in error.splitlines() if named in line))


def test_a_label_that_the_joint_regions_lack_is_no_background(folders, capsys):
    """BraTS 2021 has no resection cavity; nnU-Net's values may have one."""
    (folders / "a" / "dataset.json").unlink()
    cavity = labels_of(0)
    cavity[0] = 4
    write(folders / "a", CASES[0], cavity)
    assert ensemble(folders, "--input-labels", "nnunet", "2021", names="ac") == 2
    assert f"{CASES[0]}.nii.gz: nnU-Net's label 4 is of none of WT, TC, ET" in capsys.readouterr().err


def test_targets_of_radiotherapy_are_joined_whatever_they_are_called(tmp_path):
    """By the release's values, and by those of a dataset of nnU-Net."""
    name = "BraTS-MEN-RT-0001-1"
    for number, folder in enumerate("abc"):
        write(tmp_path / folder, name, (labels_of(number) > 1).astype(np.uint8))
        labels = {"background": 0, "gross tumor volume": [1, 1]}
        write_json({"labels": labels, "regions_class_order": [1]}, tmp_path / folder / "dataset.json")
    (tmp_path / "c" / "dataset.json").unlink()
    assert ensemble(tmp_path, "--input-labels", "menrt", names="abc") == 0
    expected = sum((labels_of(number) > 1).astype(int) for number in range(3)) >= 2
    np.testing.assert_array_equal(values_of(tmp_path / "out" / f"{name}.nii.gz"), expected)
    metrics = tmp_path / "metrics.json"  # the next command takes 1 for GTV, and not for oedema
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    compared = ("-ref", str(tmp_path / "copy"), "-pred", str(tmp_path / "out"))
    assert main(["evaluate", *compared, "--protocol", "brats2025-menrt", "-o", str(metrics)]) == 0
    assert main(["evaluate", *compared, "--protocol", "brats2023-gli", "-o", str(metrics)]) == 2
    assert ensemble(tmp_path, "--input-labels", "menrt", "--labels", "2021") == 2


def test_the_output_is_no_member_and_other_label_maps_do_not_mix(folders, capsys):
    told = ("--input-labels", "nnunet", "nnunet", "2021")
    assert main(["ensemble", str(folders / "a"), str(folders / "b"), "-o", str(folders / "a")]) == 2
    assert "would overwrite the input" in capsys.readouterr().err
    assert ensemble(folders, *told) == 0
    (folders / "b" / f"{CASES[0]}.nii.gz").unlink()
    (folders / "a" / f"{CASES[0]}.nii.gz").unlink()
    (folders / "c" / f"{CASES[0]}.nii.gz").unlink()
    assert ensemble(folders, *told, "--method", "simple") == 2
    assert "other settings (method (--method): then majority, now simple" in capsys.readouterr().err


def test_a_region_that_some_members_do_not_paint_is_not_voted_away(tmp_path):
    with_rc = {
        "labels": {**DATASET_JSON["labels"], "resection cavity": [4]}, "regions_class_order": [1, 2, 3, 4],
    }  # fmt: skip
    cavity = labels_of(0)
    cavity[0] = 4
    for name, dataset_json in (("a", with_rc), ("b", DATASET_JSON), ("c", DATASET_JSON)):
        write(tmp_path / name, CASES[0], cavity if name == "a" else np.where(cavity == 4, 0, cavity).astype(np.uint8))
        write_json(dataset_json, tmp_path / name / "dataset.json")
    assert ensemble(tmp_path, "--method", "majority") == 0
    np.testing.assert_array_equal(values_of(tmp_path / "out" / f"{CASES[0]}.nii.gz"), cavity)


def test_what_could_not_be_joined_is_not_handed_in_as_if_nothing_were_wrong(folders, capsys):
    words = ("--input-labels", "nnunet", "nnunet", "2021")
    assert ensemble(folders, *words) == 0
    (folders / "b" / f"{CASES[0]}.nii.gz").unlink()
    assert ensemble(folders, *words) == 2
    assert json.loads((folders / "out" / "run.json").read_text())["unmade"] == [CASES[0]]
    capsys.readouterr()
    assert main(["submission", "-i", str(folders / "out"), "-o", str(folders / "to_hand_in")]) == 0
    assert (
        f"1 label map of an earlier run, such as {CASES[0]}: resunet-ds ensemble was stopped" in capsys.readouterr().err
    )


@pytest.mark.parametrize(("known", "changed"), [(True, False), (True, True), (False, False)])
def test_new_cases_of_the_same_models_may_come_from_other_folders(tmp_path, capsys, known, changed):
    """Where run.json notes the weights, these and the post-processing tell members apart; else their folders do."""
    for run, case in zip(("first", "second"), CASES, strict=True):
        for name in "ab":
            folder = tmp_path / run / name
            folder.parent.mkdir(exist_ok=True)
            write(folder, case, labels_of(0))
            settings = {"made_by": "resunet-ds predict", "labels": "nnunet", "postprocessing": run if changed else ""}
            run_file = RunFile(folder, settings)
            run_file.open([case])
            run_file.note(case, f"{case}.nii.gz", {"made_with": [name]} if known else {})
            run_file.close()
        words = ["ensemble", str(tmp_path / run / "a"), str(tmp_path / run / "b"), "-o", str(tmp_path / "out")]
        code = main(words)
        assert code == (0 if (known and not changed) or run == "first" else 2), capsys.readouterr().err
