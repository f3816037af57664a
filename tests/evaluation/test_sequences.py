"""evaluate --by-sequences: cases grouped by what run.json says they lacked."""

import csv
import json

import numpy as np
import pytest
from brats_files import write

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.evaluation.sequences import group_by_sequences

NAMES = [f"BraTS-GLI-0000{number}-000" for number in range(5)]
ABSENT = [[], ["T2"], ["T2", "FLAIR"], ["T2"], None]
"""Of each case; that of None is not in run.json."""


@pytest.fixture
def folders(tmp_path):
    reference = np.zeros((8, 8, 8), np.uint8)
    reference[1:5, 1:5, 1:5] = 3
    for number, name in enumerate(NAMES):
        write(tmp_path / "ref" / f"{name}.nii.gz", reference)
        write(tmp_path / "pred" / f"{name}.nii.gz", np.roll(reference, number, 0))
    note(tmp_path / "pred", {case: {"absent": absent} for case, absent in listed()})
    return tmp_path / "ref", tmp_path / "pred"


def listed():
    return [(case, absent) for case, absent in zip(NAMES, ABSENT, strict=True) if absent is not None]


def note(folder, cases):
    (folder / "run.json").write_text(json.dumps({"made_by": "predict", "cases": cases}))


def files(folder, names=NAMES):
    return {name: folder / f"{name}.nii.gz" for name in names}


def run(folders, *arguments):
    return main(["evaluate", "-ref", str(folders[0]), "-pred", str(folders[1]), "--by-sequences", *map(str, arguments)])


def test_cases_are_grouped_by_what_they_lacked(folders):
    found = {group.title: group.cases for group in group_by_sequences(files(folders[1]))}
    assert list(found.items()) == [
        ("all sequences", (NAMES[0],)),
        ("without T2", (NAMES[1], NAMES[3])),
        ("without FLAIR, T2", (NAMES[2],)),
        ("not noted", (NAMES[4],)),
    ]


def test_means_of_each_group_are_printed_and_written(folders, tmp_path, capsys):
    output, table = tmp_path / "metrics.json", tmp_path / "metrics.csv"
    assert run(folders, "-o", output, "--csv", table) == 0
    content = json.loads(output.read_text())
    groups = {group["title"]: group for group in content["by_sequences"]}
    dice = {case: regions["ET"]["dice"] for case, regions in content["cases"].items()}
    expected = (dice[NAMES[1]] + dice[NAMES[3]]) / 2
    assert expected == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert groups["without T2"]["absent"] == ["T2"] and groups["not noted"]["absent"] is None
    summary = groups["without T2"]["summary"]["ET"]["dice"]
    assert (summary["n"], summary["mean"]) == (2, pytest.approx(expected))
    rows = {(row["case"], row["region"]): row for row in csv.DictReader(table.open())}
    assert float(rows["mean, without T2", "ET"]["dice"]) == pytest.approx(expected)
    assert rows["n, without T2", "ET"]["dice"] == "2"
    printed = capsys.readouterr().out.partition("by the sequences that cases had")[2]
    assert f"{expected:.4f}    2" in printed and "without FLAIR, T2" in printed


def test_one_line_says_that_nothing_is_noted(folders, capsys):
    (folders[1] / "run.json").unlink()
    assert run(folders) == 0
    printed = capsys.readouterr().out
    assert "no run.json notes a case that lacked a sequence" in printed
    assert "not noted" in printed.partition("by the sequences that cases had")[2]


def test_a_case_of_which_run_json_says_nothing_is_not_taken_for_complete(folders):
    """As after postprocess, of what nnU-Net predicted."""
    note(folders[1], {NAMES[0]: {"changes": []}})
    assert [group.title for group in group_by_sequences(files(folders[1], NAMES[:1]))] == ["not noted"]


def test_label_maps_without_any_evaluated_case_are_no_group(folders, tmp_path):
    (folders[1] / f"{NAMES[2]}.nii.gz").write_bytes(b"")
    output = tmp_path / "metrics.json"
    assert run(folders, "-o", output, "--skip-invalid") == 0
    titles = [group["title"] for group in json.loads(output.read_text())["by_sequences"]]
    assert titles == ["all sequences", "without T2", "not noted"]


@pytest.mark.parametrize("absent", ["T2", [2], {"T2": True}])
def test_a_note_of_another_form_is_refused(folders, capsys, absent):
    note(folders[1], {NAMES[0]: {"absent": absent}})
    assert run(folders) == 2
    error = capsys.readouterr().err
    assert f"'absent' of {NAMES[0]} must be a list of sequences" in error and len(error.strip().splitlines()) == 1
