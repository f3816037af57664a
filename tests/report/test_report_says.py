"""What a report says so that it is read rightly: refusals at once, training cases, what numbers mean."""

import json
import re
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import write
from region_datasets import APART
from reports import (
    CASES,
    PREDICTED,
    SPACING,
    add_a_false_lesion,
    make_cohort,
    note_certainty,
    note_training_cases,
    tumour,
)
from test_report import data_of, run

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.evaluation.protocols import PROTOCOLS
from nnunet_resunet_ds.report import ReportSettings, write_report
from nnunet_resunet_ds.report.default_protocol import protocol_of
from nnunet_resunet_ds.report.explanations import explanations
from nnunet_resunet_ds.report.page import cards, plots
from nnunet_resunet_ds.report.remarks import read_prediction_notes
from nnunet_resunet_ds.report.report_case import ReportCase
from nnunet_resunet_ds.uncertainty.expected_dice import SIGNS, ExpectedDice, ExpectedDiceModel

GLI = PROTOCOLS["brats2023-gli"]


@pytest.fixture
def cohort(tmp_path):
    return make_cohort(tmp_path / "cohort")


def settings(cohort, **more):
    return ReportSettings([cohort / "raw"], cohort / "labels", cohort / "report.html", **more)


def change_run(cohort, change):
    file = cohort / "labels" / "run.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


# ---- refused at once ----

BAD = {
    "one folder on both sides": (
        lambda folder: ["-i", folder / "raw", "-pred", folder / "raw", "-ref", folder / "raw"],
        "is reference and prediction at once, in 3 of 3 cases",
    ),
    "images of some cases alone": (
        lambda folder: ["-i", folder / "raw" / CASES[0], "-pred", folder / "labels", "-ref", folder / "raw"],
        f"has no images of 2 of 3 cases: {CASES[1]}, {CASES[2]}; give the folder above it with -i",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_reported_is_refused_before_any_case_is_read(kind, cohort, capsys, bad_input):
    words, message = BAD[kind]
    (cohort / "labels" / f"{CASES[0]}.nii.gz").write_bytes(b"not read")
    assert run(*words(cohort), "-o", cohort / "report.html") == 2
    said = capsys.readouterr().err
    (error,) = (line for line in said.splitlines() if "error:" in line)
    assert message in error and "case/s" not in said and said.strip().endswith(error)
    bad_input("report", kind, error)


def test_cases_without_images_may_be_those_without_pictures(cohort):
    """The two best of three lack images, and pictures are wanted of one."""
    for case in (CASES[0], CASES[2]):
        shutil.rmtree(cohort / "raw" / case)
    with pytest.raises(InputError, match="no images of 2 of 3 cases"):
        write_report(settings(cohort, max_viewers=2))
    write(cohort / "ref" / f"{CASES[1]}.nii.gz", tumour((11, 13, 12)), spacing=SPACING)
    written = write_report(settings(cohort, max_viewers=1, reference=cohort / "ref", reference_labels="nnunet"))
    assert [case.pictures is not None for case in written.cases] == [True, False, False]
    assert len(write_report(settings(cohort, max_viewers=0)).cases) == 3
    assert len(write_report(settings(cohort, skip_invalid=True)).problems) == 2


def test_problems_are_listed_by_the_names_of_cases(cohort):
    for case in CASES:
        (cohort / "raw" / case / f"{case}_t2.nii.gz").write_bytes(b"x")
    with pytest.raises(InputError) as raised:
        write_report(settings(cohort, reference=cohort / "raw"))
    assert re.findall(r"BraTS2021_\d+(?=_t2)", str(raised.value)) == list(CASES)


# ---- where a reference lies ----


def test_segmentations_among_the_images_are_pointed_at(cohort, capsys):
    (cohort / "raw" / CASES[2] / f"{CASES[2]}_seg.nii.gz").unlink()
    raw, words = cohort / "raw", ("-pred", cohort / "labels", "-o", cohort / "report.html")
    assert run("-i", raw, *words) == 0
    assert f"there are 2 segmentations in {raw}; compare with them: -ref {raw}\n" in capsys.readouterr().err
    (cohort / "raw" / CASES[1] / f"{CASES[1]}_seg.nii.gz").unlink()
    assert run("-i", raw, *words) == 0
    assert f"there is 1 segmentation in {raw}; compare with it: -ref {raw}\n" in capsys.readouterr().err
    assert run("-i", raw, *words, "-ref", raw) == 0
    assert "compare with" not in capsys.readouterr().err
    (cohort / "raw" / CASES[0] / f"{CASES[0]}_seg.nii.gz").unlink()
    assert run("-i", raw, *words) == 0
    assert "compare with" not in capsys.readouterr().err


# ---- training cases ----


def test_training_cases_are_counted_at_the_top_and_flagged(cohort, capsys):
    note_training_cases(cohort, CASES[:2])
    page = cohort / "report.html"
    words = ("-i", cohort / "raw", "-pred", cohort / "labels", "-o", page)
    assert run(*words, "-ref", cohort / "raw") == 0
    line = "2 of 3 cases may be training cases of the model (run.json): these scores do not say how it does on new ones"
    assert capsys.readouterr().err.count(line) == 1
    assert f'<p class="notice">{line}</p>' in page.read_text()
    flags = {case["name"]: case["flags"] for case in data_of(page)["cases"]}
    assert [("a training case?" in flags[case]) for case in CASES] == [True, True, False]
    assert run(*words) == 0
    assert "notice" not in re.sub(r"<style>.*?</style>", "", page.read_text(), flags=re.DOTALL)
    assert "training cases" not in capsys.readouterr().err


# ---- the Dice to expect ----


def test_the_dice_to_expect_is_no_flag_where_it_is_measured(cohort):
    note_certainty(cohort, dict.fromkeys(CASES, 0.07))
    (cohort / "raw" / CASES[2] / f"{CASES[2]}_seg.nii.gz").unlink()
    written = write_report(settings(cohort, reference=cohort / "raw"))
    flagged = {case.name: "expected Dice of WT 0.07" in case.flags for case in written.cases}
    assert flagged == {CASES[0]: False, CASES[1]: False, CASES[2]: True}
    case = next(case for case in data_of(cohort / "report.html")["cases"] if case["name"] == CASES[0])
    assert case["values"]["WT"]["expected_dice"] == 0.07


def write_model(folder, weights="abc"):
    learnt = ExpectedDice(0.5, dict.fromkeys(SIGNS, 0.0), n_cases=9, error=0.123, volume_held=0.5)
    folder.mkdir(exist_ok=True)
    ExpectedDiceModel({"WT": learnt}, (("0", weights),)).write(folder)


def test_the_page_says_how_far_the_dice_to_expect_is_off(cohort):
    note_certainty(cohort, dict.fromkeys(CASES, 0.9))
    model = cohort / "model"
    write_model(model)
    run_of_model = {"model_folders": [str(model)], "models": [{"name": "model", "weights": {"0": "abc"}}]}
    change_run(cohort, lambda content: content.update(run_of_model))
    assert read_prediction_notes(cohort / "labels").expected_dice_errors == {"WT": 0.123}
    write_report(settings(cohort))
    told = data_of(cohort / "report.html")["explanations"]["expected_dice"]
    assert "without a reference" in told and told.endswith("it was off by 0.12 (WT) on average.")


@pytest.mark.parametrize(
    "break_it",
    [
        lambda model: (model / "expected_dice.json").unlink(),
        lambda model: (model / "expected_dice.json").write_text("{}"),
        shutil.rmtree,
        lambda model: write_model(model, "of other weights"),
    ],
)
def test_and_says_nothing_of_it_where_the_model_is_not_there_or_another(cohort, break_it):
    write_model(cohort / "model")
    break_it(cohort / "model")
    run_of_model = {"model_folders": [str(cohort / "model")], "models": [{"weights": {"0": "abc"}}]}
    change_run(cohort, lambda content: content.update(run_of_model))
    assert read_prediction_notes(cohort / "labels").expected_dice_errors == {}


@pytest.mark.parametrize(
    "odd", [{"model_folders": 7}, {"model_folders": [7], "models": 7}, {"model_folders": ["a", "b"]}]
)
def test_a_run_json_of_another_form_does_no_harm(cohort, odd):
    change_run(cohort, lambda content: content.update(odd))
    assert read_prediction_notes(cohort / "labels").expected_dice_errors == {}


def test_explanations_name_the_penalty_of_the_protocol():
    assert "374 mm stands for a region" in explanations(GLI, {})["hd95"]
    assert "each missed and each false lesion has 0" in explanations(GLI, {})["lesion_dice"]
    assert "the diagonal of the image stands" in explanations(PROTOCOLS["brats2021"], {})["hd95"]
    told = {protocol.name: explanations(protocol, {}) for protocol in PROTOCOLS.values()}
    for protocol in PROTOCOLS.values():
        of = told[protocol.name]
        assert ("false" in of["lesion_dice"]) == ("false" in of["lesion_hd95"]) == protocol.false_lesions_count
        assert ("or is all elsewhere" in of["hd95"]) == protocol.needs_overlap
    assert "off by" not in explanations(GLI, {})["expected_dice"]


def test_only_numbers_that_are_shown_are_explained(cohort):
    write_report(settings(cohort))
    assert data_of(cohort / "report.html")["explanations"] == {}


# ---- the head of the page ----


def subtitle(cohort):
    return re.search(r"<header>.*?<p>(.*?), 2\d\d\d-", (cohort / "report.html").read_text(), re.DOTALL)[1]


def test_the_subtitle_says_by_which_rules(cohort):
    write_report(settings(cohort, reference=cohort / "raw"))
    assert subtitle(cohort) == "3 cases, by the rules of BraTS 2023 GLI"
    write_report(settings(cohort))
    assert subtitle(cohort) == "3 cases, regions of BraTS 2023 GLI"


def case_of(name, dice=0.5):
    metrics = {"dice": dice, "hd95": 2.0, "lesion_dice": dice, "reference_volume": 1000.0, "prediction_volume": 900.0}
    regions = GLI.regions
    return ReportCase(name, dict.fromkeys(regions, 1000.0), {region: dict(metrics) for region in regions})


def test_one_case_has_no_quartiles_and_no_median():
    one, two = [case_of("a")], [case_of("a"), case_of("b")]
    assert [plot.title for plot in plots(one, GLI) if plot] == ["Volume (ml), prediction over reference"]
    assert len([plot for plot in plots(two, GLI) if plot]) == 4
    without = [ReportCase(case.name, case.volumes) for case in two]
    assert len(list(plots(without, GLI))) == 1 and list(plots(without[:1], GLI)) == []
    for cases in (one, without[:1]):
        assert not any("median" in card.detail or "mean;" in card.detail for card in cards(cases, GLI))
    assert sum("median" in card.detail for card in cards(two, GLI)) == 3


def test_regions_of_a_dataset_are_no_rules_of_a_challenge(cohort):
    assert protocol_of({"cyst": [1]}).name not in PROTOCOLS
    (cohort / "labels" / "run.json").unlink()
    (cohort / "labels" / "dataset.json").write_text(json.dumps(APART.dataset_json))
    write_report(settings(cohort))
    assert subtitle(cohort) == "3 cases, regions of the dataset (cyst, vessel)"


# ---- lesions in words ----


def test_a_lesion_of_less_than_can_be_said_in_ml_has_voxels(cohort):
    add_a_false_lesion(cohort, CASES[1])
    predicted = tumour(PREDICTED[CASES[1]])
    predicted[20, 20, 19] = predicted[2, 4, 4] = predicted[2, 4, 5] = 1
    write(cohort / "labels" / f"{CASES[1]}.nii.gz", predicted, spacing=SPACING)
    (case,) = (case for case in write_report(settings(cohort, reference=cohort / "raw")).cases if case.lesions)
    grid = sitk.ReadImage(str(cohort / "labels" / f"{CASES[1]}.nii.gz"))
    x, y, z = grid.TransformIndexToPhysicalPoint((19, 20, 20))
    told = [lesion.text for lesion in case.lesions]
    assert told[0].startswith("false WT: 2 voxels, at x ")
    assert told[1] == f"false WT: 1 voxel, at x {x:.0f}, y {y:.0f}, z {z:.0f} mm" and np.allclose(z, 30)
