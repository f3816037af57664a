"""--json: one JSON text on standard output, equal to what the files and the table say; everything else elsewhere."""

import argparse
import json
import math
import shutil
from pathlib import Path

import pytest
from brats_files import CASES
from hypothesis import given
from hypothesis import strategies as st

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import with_nulls
from nnunet_resunet_ds.cli import COMMANDS, main
from nnunet_resunet_ds.commands.json_answer import answer, lines_or_json


def asked(capsys, *words):
    """Run a command with --json; return its exit code, its answer and its lines."""
    code = main([*map(str, words), "--json"])
    printed = capsys.readouterr()
    return code, json.loads(printed.out) if printed.out else None, printed.err


def strictly(text):
    """Read JSON as programs do that know no NaN."""

    def refuse(name):
        pytest.fail(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
)


@given(JSON_VALUES)
def test_what_is_not_a_number_becomes_null_wherever_it_stands(content):
    strictly(json.dumps(with_nulls(content)))


def test_numbers_stay():
    content = {"a": [1, 2.5, math.inf, {"b": (math.nan, -1)}], "c": "nan"}
    assert with_nulls(content) == {"a": [1, 2.5, None, {"b": [None, -1]}], "c": "nan"}


def test_lines_go_to_standard_error_and_the_answer_to_standard_output(capsys):
    options = argparse.Namespace(json=True)
    with lines_or_json(options):
        print("a line")  # noqa: T201
        answer(options, {"file": Path("a/b"), "value": math.nan})
    out, err = capsys.readouterr()
    assert json.loads(out) == {"file": "a/b", "value": None} and err == "a line\n"


def test_an_error_after_the_answer_does_not_take_it_back(capsys):
    options = argparse.Namespace(json=True)
    with pytest.raises(InputError), lines_or_json(options):
        answer(options, ["bad"])
        raise InputError
    assert json.loads(capsys.readouterr().out) == ["bad"]


def test_an_error_before_the_answer_leaves_standard_output_empty(capsys):
    options = argparse.Namespace(json=True)
    with pytest.raises(InputError), lines_or_json(options):
        raise InputError
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("options", [argparse.Namespace(), argparse.Namespace(json=False)])
def test_without_it_people_read_the_lines(capsys, options):
    with lines_or_json(options):
        print("a line")  # noqa: T201
        answer(options, 1)
    assert capsys.readouterr() == ("a line\n", "")


def test_each_command_that_prints_a_table_has_it():
    having = set()
    for name, command in COMMANDS.items():
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        if "--json" in parser.format_help():
            having.add(name)
    assert having == {
        *("convert", "splits", "tune", "average-weights", "models", "evaluate", "rank", "submission", "ablation"),
        "doctor",
    }


def test_convert_answers_with_its_manifest(cohort, raw, capsys):
    code, said, lines = asked(capsys, "convert", cohort, "-d", 137)
    assert code == 0 and Path(said.pop("dataset")) == raw / "Dataset137_BraTS2021"
    assert said == json.loads((raw / "Dataset137_BraTS2021" / "conversion.json").read_text())
    assert "2 training and 0 test cases" in lines


def test_a_check_answers_with_problems_although_it_fails(cohort, capsys):
    (cohort / CASES[0] / f"{CASES[0]}_t2.nii.gz").write_bytes(b"damaged")
    code, said, lines = asked(capsys, "convert", "--check", cohort)
    assert code == 2 and said["edition"] == "2021" and set(said["cases"]) == set(CASES)
    assert "t2" in said["cases"][CASES[0]]["problems"][0] and said["cases"][CASES[0]]["problems"][0] in lines
    good = said["cases"][CASES[1]]
    assert good["problems"] == [] and good["segmentation"] and good["voxels"]["ET"] > 0


def test_splits_answers_with_the_file_that_it_writes(trained, nnunet_folders, capsys):
    _, ids = trained
    code, said, lines = asked(capsys, "splits", "-d", 137, "--folds", 3, "--overwrite")
    assert code == 0 and "fold  train cases" in lines
    for file in said["files"]:
        written = json.loads(Path(file).read_text())
        assert [{"train": fold["train"], "val": fold["val"]} for fold in said["folds"]] == written
    assert sorted(case for fold in said["folds"] for case in fold["val"]) == ids
    assert all(set(fold["val_with_et"]) <= set(fold["val"]) for fold in said["folds"])


def test_evaluate_answers_with_metrics_json(cohort, tmp_path, capsys):
    output = tmp_path / "metrics.json"
    perfect = shutil.copytree(cohort, tmp_path / "perfect")
    code, said, lines = asked(capsys, "evaluate", "-ref", cohort, "-pred", perfect, "-o", output)
    assert code == 0 and said == json.loads(output.read_text()) and "mean" in lines
    assert said["summary"]["WT"]["dice"]["mean"] == 1


def test_submission_answers_with_its_files(cohort, tmp_path, capsys):
    for case in CASES:
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / f"{case}.nii.gz").write_bytes((cohort / case / f"{case}_seg.nii.gz").read_bytes())
    words = (
        "submission",
        "-i",
        tmp_path / "labels",
        "-o",
        tmp_path / "out",
        "--labels",
        "2021",
        "--edition",
        "2023-gli",
    )
    code, said, _ = asked(capsys, *words)
    assert code == 0 and said["edition"] == "2023-gli"
    assert sorted(said["files"]) == sorted(map(str, (tmp_path / "out").glob("*.nii.gz")))


def test_a_usage_error_answers_nothing(tmp_path, capsys):
    code, said, lines = asked(capsys, "splits", "-d", 999)
    assert code == 2 and said is None and "error:" in lines
