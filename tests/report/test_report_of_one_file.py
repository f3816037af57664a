"""``report`` of one label map that has any name, and what is not taken for the same case."""

import json
import shutil

import pytest
from reports import CASES, make_cohort

from nnunet_resunet_ds.base.files import identity_of
from nnunet_resunet_ds.cli import main

FIRST, SECOND = CASES[:2]


@pytest.fixture
def given(tmp_path):
    """The folder of one raw case, its segmentation, and a prediction under a name of its own."""
    cohort = make_cohort(tmp_path)
    mine = cohort / "mine.nii.gz"
    (cohort / "labels" / f"{FIRST}.nii.gz").rename(mine)
    return cohort, cohort / "raw" / FIRST, mine


def report(images, prediction, output, *words):
    return main(["report", "-i", str(images), "-pred", str(prediction), "-o", str(output), *map(str, words)])


def test_it_is_shown_with_the_images_of_the_one_case_and_scored(given, tmp_path, capsys):
    _, raw, mine = given
    page = tmp_path / "report.html"
    assert report(raw, mine, page, "-ref", raw / f"{FIRST}_seg.nii.gz", "--pred-labels", "nnunet") == 0
    said = capsys.readouterr()
    assert f"mine.nii.gz: shown with the images of {FIRST}, the one case there" in said.err
    assert "1 case, 1 with pictures" in said.out and '"mine"' in page.read_text()


def test_of_several_cases_none_is_guessed(given, tmp_path, capsys):
    cohort, _, mine = given
    assert report(cohort / "raw", mine, tmp_path / "report.html") == 2
    assert "has no images of 1 of 1 cases: mine" in capsys.readouterr().err


def test_another_patient_is_refused(given, tmp_path, capsys):
    cohort, raw, _ = given
    other = cohort / "labels" / f"{SECOND}.nii.gz"
    assert report(raw, other, tmp_path / "report.html") == 2
    assert f"has no images of 1 of 1 cases: {SECOND}" in capsys.readouterr().err
    raw_of_other = cohort / "raw" / SECOND
    assert report(raw_of_other, other, tmp_path / "report.html", "-ref", raw / f"{FIRST}_seg.nii.gz") == 2
    assert "the names of the files must be the same" in capsys.readouterr().err


def test_a_label_map_that_run_json_says_was_made_of_others_is_refused(given, tmp_path, capsys):
    """All cases of BraTS lie on one grid, so that it does not tell them apart."""
    cohort, raw, mine = given
    images = {modality: cohort / "raw" / SECOND / f"{SECOND}_{modality}.nii.gz" for modality in ("t1", "t2")}
    entry = {"file": mine.name, "images": {name: identity_of(file) for name, file in images.items()}}
    (cohort / "run.json").write_text(json.dumps({"labels": "nnunet", "cases": {"mine": entry}}))
    assert report(raw, mine, tmp_path / "report.html") == 2
    assert "has no images of 1 of 1 cases: mine" in capsys.readouterr().err
    assert report(cohort / "raw" / SECOND, mine, tmp_path / "report.html") == 0


def test_label_values_that_nothing_tells_are_spoken_of_without_a_reference_too(given, tmp_path, capsys):
    _, raw, mine = given
    assert report(raw, mine, tmp_path / "report.html") == 0
    assert "no file says what its label values mean; they are read as those of BraTS 2023" in capsys.readouterr().err
    assert report(raw, mine, tmp_path / "report.html", "--pred-labels", "nnunet") == 0
    assert "no file says" not in capsys.readouterr().err


def test_evaluate_asks_where_two_files_are_of_different_cases(given, capsys):
    cohort, raw, mine = given
    reference, other = raw / f"{FIRST}_seg.nii.gz", cohort / "labels" / f"{SECOND}.nii.gz"
    assert main(["evaluate", "-ref", str(reference), "-pred", str(other)]) == 0
    said = capsys.readouterr().out
    assert f"{other} is of {SECOND}, and {reference} of {FIRST}: is it the same patient?" in said
    assert main(["evaluate", "-ref", str(reference), "-pred", str(mine), "--pred-labels", "nnunet"]) == 0
    assert "same patient" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reference", "prediction", "asks"),
    [
        ("P002_seg", "P001", True), ("P002", "P001", True), ("P001-seg", "P001", False), ("P002_seg", "tumour", False),
        ("truth2", "prediction1", False), ("P10_tumor_segmentation", "P9", True),
    ],
)  # fmt: skip
def test_evaluate_asks_where_own_names_differ_in_numbers(given, tmp_path, capsys, reference, prediction, asks):
    _, raw, mine = given
    files = [
        shutil.copy(file, tmp_path / f"{name}.nii.gz")
        for file, name in ((raw / f"{FIRST}_seg.nii.gz", reference), (mine, prediction))
    ]
    words = ["evaluate", "-ref", *files[:1], "-pred", *files[1:], "--ref-labels", "2021", "--pred-labels", "nnunet"]
    assert main(list(map(str, words))) == 0
    assert ("is it the same patient?" in capsys.readouterr().out) == asks


def flags(folder, case):
    return [word for name in ("t1", "t1ce", "t2", "flair") for word in (f"--{name}", folder / f"{case}_{name}.nii.gz")]


def test_images_may_be_given_one_by_one_as_to_predict(given, tmp_path, capsys):
    cohort, raw, mine = given
    for name in ("t1", "t1ce", "t2", "flair"):
        (raw / f"{FIRST}_{name}.nii.gz").rename(cohort / f"x_{name}.nii.gz")
    page = tmp_path / "report.html"
    words = ["report", "-pred", mine, "--pred-labels", "nnunet", "-o", page, *flags(cohort, "x")]
    assert main(list(map(str, words))) == 0
    assert "1 case, 1 with pictures" in capsys.readouterr().out
    assert main([*map(str, words), "-i", str(raw)]) == 2
    assert "either folders of images with -i, or those of one case" in capsys.readouterr().err
    assert main([*map(str, words[:-1]), str(cohort / "nowhere.nii.gz")]) == 2
    assert "nowhere.nii.gz: no such file" in capsys.readouterr().err


def test_images_given_one_by_one_must_be_those_of_the_one_label_map(given, tmp_path, capsys):
    cohort, raw, mine = given
    entry = {"file": mine.name, "images": {"T1ce": identity_of(raw / f"{FIRST}_t1ce.nii.gz")}}
    (cohort / "run.json").write_text(json.dumps({"labels": "nnunet", "cases": {"mine": entry}}))
    words = ["report", "-pred", mine, "-o", tmp_path / "report.html"]
    assert main(list(map(str, [*words, *flags(raw, FIRST)]))) == 0
    capsys.readouterr()
    assert main(list(map(str, [*words, *flags(cohort / "raw" / SECOND, SECOND)]))) == 2
    assert f"{SECOND}_t1ce.nii.gz: is not the T1ce image that" in capsys.readouterr().err
    words[2] = cohort / "labels"
    assert main(list(map(str, [*words, *flags(raw, FIRST)]))) == 2
    assert "cases, and the images are of one; give its label map alone" in capsys.readouterr().err


def test_flags_that_exchange_two_images_are_spoken_of(given, tmp_path, capsys):
    _, raw, mine = given
    files = {name: raw / f"{FIRST}_{name}.nii.gz" for name in ("t1", "t1ce", "t2", "flair")}
    files["t1"], files["t1ce"] = files["t1ce"], files["t1"]
    words = ["report", "-pred", mine, "-o", tmp_path / "report.html", "--pred-labels", "nnunet"]
    assert (
        main([str(word) for word in [*words, *(part for name, file in files.items() for part in (f"--{name}", file))]])
        == 0
    )
    assert "images exchanged?" in capsys.readouterr().err
