"""What the report tells of a case by what lies next to its label map, and what is not of this label map."""

import json
import shutil

import numpy as np
import pytest
from reports import CASES, SHAPE, make_cohort
from test_report import data_of, run

from nnunet_resunet_ds.base.files import identity_of
from nnunet_resunet_ds.report import ReportSettings, write_report

CHANGE = {"step": "et_components", "voxels": 12, "components": 1, "mean_probability": 0.61}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return make_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture
def labels(cohort, tmp_path):
    """The predicted label maps, to be written next to."""
    return shutil.copytree(cohort / "labels", tmp_path / "labels")


def note(folder, cases):
    (folder / "run.json").write_text(json.dumps({"labels": "nnunet", "cases": cases}))


def written(folder, case):
    """What run.json says of a label map that is there as it was written."""
    return {"file": f"{case}.nii.gz", "written": identity_of(folder / f"{case}.nii.gz")}


def test_a_case_that_predict_did_not_come_to_is_named(cohort, labels, tmp_path, caplog):
    (labels / f"{CASES[0]}.nii.gz").unlink()
    content = {"made_by": "resunet-ds predict", "labels": "nnunet", "unmade": [CASES[0]]}
    content["cases"] = {case: written(labels, case) for case in CASES[1:]}
    (labels / "run.json").write_text(json.dumps(content))
    cases_of_report(cohort, labels, tmp_path)
    assert f"1 case not there, such as {CASES[0]}: resunet-ds predict was stopped" in caplog.text


def cases_of_report(cohort, labels, tmp_path):
    page = tmp_path / "report.html"
    write_report(ReportSettings([cohort / "raw"], labels, page))
    return {case["name"]: case for case in data_of(page)["cases"]}


def test_what_predict_noted_is_told(cohort, labels, tmp_path):
    entry = {"warnings": ["dark: very"], "changes": [CHANGE, {**CHANGE, "voxels": 0}], "mean_probability": {"TC": 0.5}}
    cases = {CASES[0]: entry, CASES[1]: {"with_probabilities": True}, CASES[2]: {}}
    note(labels, cases)
    probabilities = np.full((3, *SHAPE), 0.7, np.float32)
    for case in CASES[1:]:
        np.savez(labels / f"{case}.npz", probabilities=probabilities)
    cases = cases_of_report(cohort, labels, tmp_path)
    assert "low confidence: TC has mean probability 0.50" in cases[CASES[0]]["flags"]
    assert cases[CASES[0]]["warnings"] == ["dark: very"]
    assert cases[CASES[0]]["changes"] == ["et components: 12 voxels of mean probability 0.61"]
    assert "low confidence: WT has mean probability 0.70" in cases[CASES[1]]["flags"]
    assert "low confidence" not in str(cases[CASES[2]]["flags"])  # nothing says that they are of this label map


def test_what_was_noted_of_a_label_map_that_was_replaced_is_not_told(cohort, labels, tmp_path):
    entry = {"warnings": ["dark: very"], "changes": [CHANGE], "mean_probability": {"TC": 0.5}}
    note(labels, {case: {**entry, **written(labels, case)} for case in CASES})
    rows = [f"{case},et_components,12,1,0.61" for case in CASES]
    (labels / "postprocessing_changes.csv").write_text(
        "\n".join(["case,step,voxels,components,mean_probability", *rows])
    )
    (labels / f"{CASES[0]}.nii.gz").write_bytes((labels / f"{CASES[1]}.nii.gz").read_bytes())
    cases = cases_of_report(cohort, labels, tmp_path)
    told = [(case, cases[case]["warnings"], bool(cases[case]["changes"])) for case in CASES[:2]]
    assert told == [(CASES[0], [], False), (CASES[1], ["dark: very"], True)]
    assert "low confidence" not in str(cases[CASES[0]]["flags"]) and "low confidence" in str(cases[CASES[1]]["flags"])


@pytest.mark.parametrize(
    "table", ["name,step,voxels\na,et,1\n", f"case,step,voxels\n{CASES[0]},et,many\n", "case\n\xff"]
)
def test_a_damaged_table_of_changes_counts_as_missing(cohort, labels, tmp_path, table):
    (labels / "postprocessing_changes.csv").write_text(table, encoding="latin-1")
    note(labels, {case: {"changes": [{"unknown": 1}]} for case in CASES[1:]} | {CASES[0]: {}})
    assert not any(case["changes"] for case in cases_of_report(cohort, labels, tmp_path).values())


def test_label_maps_of_other_cases_are_not_those_before_post_processing(cohort, labels, tmp_path, capsys):
    others = tmp_path / "others"
    others.mkdir()
    shutil.copy(next((cohort / "before").glob("*.nii.gz")), others / "another.nii.gz")
    command = ("-i", cohort / "raw", "-pred", labels, "-o", tmp_path / "page.html", "--before")
    assert run(*command, others) == 2
    assert "others: has none of the cases of" in capsys.readouterr().err
    earlier = shutil.copytree(cohort / "before", tmp_path / "before")
    for folder in (labels, earlier):
        note(folder, {case: {**written(folder, case), "made_with": [folder.name]} for case in CASES})
    assert run(*command, earlier) == 0
    assert "was predicted with other weights than" in capsys.readouterr().err


def test_images_of_another_patient_are_spoken_of(cohort, labels, tmp_path, capsys):
    """All cases of BraTS lie on one grid, and ids such as P001 are common: the bytes tell."""
    images = {CASES[0]: CASES[0], CASES[1]: CASES[2]}
    entries = {
        case: {
            **written(labels, case),
            "images": {"T1ce": identity_of(cohort / "raw" / other / f"{other}_t1ce.nii.gz")},
        }
        for case, other in images.items()
    }
    note(labels, {CASES[2]: written(labels, CASES[2]), **entries})
    assert run("-i", cohort / "raw", "-pred", labels, "-o", tmp_path / "report.html") == 0
    said = capsys.readouterr().err
    assert f"1 case shown with images that the label map was not made of, such as {CASES[1]}" in said
