"""How sure a prediction is, in the report: order, flags, numbers and maps."""

import json

import numpy as np
import pytest
from brats_files import write
from reports import CASES, make_cohort, note_certainty

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.evaluation.protocols import PROTOCOLS
from nnunet_resunet_ds.report import ReportSettings, write_report
from nnunet_resunet_ds.report.page import data_of_page
from nnunet_resunet_ds.report.worst_first import worst_first

GLI = PROTOCOLS["brats2023-gli"]


def test_without_a_score_the_least_expected_dice_comes_first_then_the_most_entropy():
    certainties = {
        "a": {"WT": {"entropy_inside": 0.1}},
        "b": {"WT": {"entropy_inside": 0.3}, "TC": {"volume": 0.0}},
        "c": {"WT": {"expected_dice": 0.9, "entropy_inside": 0.9}, "TC": {"expected_dice": 0.5}},
        "d": {"WT": {"expected_dice": 0.6}},
    }
    assert worst_first(list("eabcd"), {}, GLI, certainties) == list("dcbae")


def test_doubts_are_flagged_and_numbers_shown(tmp_path):
    cohort = make_cohort(tmp_path / "cohort")
    note_certainty(cohort, {CASES[0]: 0.69, CASES[1]: 0.7}, with_maps=(CASES[0],))
    run_file = cohort / "labels" / "run.json"
    run = json.loads(run_file.read_text())
    run["cases"][CASES[1]]["certainty"]["TC"]["fold_disagreement"] = 0.31
    run_file.write_text(json.dumps(run))
    written = write_report(ReportSettings([cohort / "raw"], cohort / "labels", tmp_path / "report.html"))
    first, second, third = written.cases
    assert [case.name for case in (first, second, third)] == list(CASES)
    assert first.flags[0] == "expected Dice of WT 0.69" and second.flags[0] == "folds disagree on TC: Dice 0.69"
    assert not any("expected" in flag or "disagree" in flag for flag in third.flags)
    assert set(first.pictures.maps) == {"WT", "TC", "ET"} and second.pictures.maps == {}
    data = data_of_page(written.cases, GLI)
    assert data["sorted_by"] == "expected_dice" and "Volume at most (ml)" in data["metrics"].values()
    assert data["cases"][0]["values"]["WT"]["largest_volume"] == 1.5
    assert "fold_disagreement" in data["metrics"] and "entropy_around" not in data["metrics"]


def test_a_map_on_another_grid_is_named(tmp_path):
    cohort = make_cohort(tmp_path / "cohort")
    note_certainty(cohort, {CASES[0]: 0.69}, with_maps=(CASES[0],))
    file = cohort / "labels" / "uncertainty" / f"{CASES[0]}_WT_entropy.nii.gz"
    write(file, np.zeros((5, 5, 5), np.float32))
    with pytest.raises(InputError, match=f"{file.name}: size .* they must be on one grid"):
        write_report(ReportSettings([cohort / "raw"], cohort / "labels", tmp_path / "report.html"))
