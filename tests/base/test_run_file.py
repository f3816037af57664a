"""run.json speaks for the label maps that it lists, each by the run that made it."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
from brats_files import CASES, values_of
from models import predict

from dataset_conversion.declared_labels import declared_convention
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.run_file import RunFile, notes_on_unmade, read_runs
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.inference.pipeline import _Pipeline

FIRST, SECOND = CASES
OF_A_FLAG = "post-processing (--config, --preset or a flag of it):"


def of_one(cohort, case, output, model, *flags):
    return predict(cohort / case, output, model, *flags)


def content(folder):
    return json.loads((folder / "run.json").read_text())


@contextmanager
def stopped_at_the_second(monkeypatch):
    """Ctrl-C when the network comes to the second case."""
    original = _Pipeline._run_networks

    def stopped(self, case, *rest):
        if case == SECOND:
            raise KeyboardInterrupt
        return original(self, case, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(_Pipeline, "_run_networks", stopped)
        yield


def test_a_second_case_does_not_hide_the_first(cohort, model, tmp_path):
    out = tmp_path / "one"
    assert of_one(cohort, FIRST, out, model, "--labels", "2021") == 0
    assert of_one(cohort, SECOND, out, model, "--labels", "2021") == 0
    assert list(content(out)["cases"]) == [FIRST, SECOND] and "earlier_runs" not in content(out)
    rows = (out / "postprocessing_changes.csv").read_text().splitlines()[1:]
    assert {row.partition(",")[0] for row in rows} == {FIRST, SECOND}
    assert declared_convention(out.glob("*.nii.gz")).convention.key == "2021"


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ([], "label values (--labels, of submission --edition): then 2021, now nnunet"),
        (["--labels", "2021", "--wt", "0.2"], f"{OF_A_FLAG} wt then 0.45, now 0.2"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(cohort, model, tmp_path, capsys, flags, named):
    out = tmp_path / "one"
    of_one(cohort, FIRST, out, model, "--labels", "2021")
    before = content(out)
    assert of_one(cohort, SECOND, out, model, *flags) == 2
    assert f"{FIRST} was made with other settings ({named})" in capsys.readouterr().err
    assert content(out) == before and not (out / f"{SECOND}.nii.gz").exists()


def test_where_that_is_wished_each_label_map_keeps_what_made_it(cohort, model, tmp_path, capsys):
    out = tmp_path / "one"
    of_one(cohort, FIRST, out, model, "--labels", "2021")
    assert of_one(cohort, SECOND, out, model, "--overwrite") == 0
    runs = read_runs(out)
    assert [runs.of_case(case)["labels"] for case in CASES] == ["2021", "nnunet"]
    for case, key in zip(CASES, ("2021", "nnunet"), strict=True):
        assert declared_convention([out / f"{case}.nii.gz"]).convention.key == key
    with pytest.raises(InputError, match=r"label values of BraTS 2021 of .*, and the label values of nnU-Net of"):
        declared_convention(out.glob("*.nii.gz"))
    for command in (["evaluate", "-ref", str(cohort), "-pred", str(out)], ["submission", "-i", str(out), "-o", "x"]):
        assert main(command) == 2
    capsys.readouterr()


def test_a_whole_run_replaces_another_and_only_that(cohort, model, tmp_path):
    out = tmp_path / "out"
    predict(cohort, out, model, "--labels", "2021")
    assert predict(cohort, out, model) == 0
    assert "earlier_runs" not in content(out) and content(out)["labels"] == "nnunet"
    assert declared_convention(out.glob("*.nii.gz")).convention.key == "nnunet"


def test_a_killed_run_leaves_nothing_that_is_taken_for_what_it_is_not(cohort, model, tmp_path, monkeypatch):
    out = tmp_path / "out"
    predict(cohort, out, model, "--labels", "2021")
    with monkeypatch.context() as patched:
        patched.setattr(RunFile, "note", lambda *_: None)  # killed after the label maps, before their notes
        predict(cohort, out, model)
    assert declared_convention(out.glob("*.nii.gz")) is None
    assert predict(cohort, out, model, "--continue") == 0
    assert declared_convention(out.glob("*.nii.gz")).convention.key == "nnunet"


def test_a_failure_is_noted_and_what_is_known_of_an_earlier_label_map_stays(cohort, model, tmp_path, monkeypatch):
    out = tmp_path / "out"
    predict(cohort, out, model, "--labels", "2021")
    (cohort / FIRST / f"{FIRST}_t1.nii.gz").write_bytes(b"")
    assert predict(cohort, out, model, "--labels", "2021") == 2
    assert "is empty" in content(out)["cases"][FIRST]["error"]
    assert read_runs(out).of_case(FIRST)["labels"] == "2021"
    evaluated = []
    original = _Pipeline._run_networks
    monkeypatch.setattr(
        _Pipeline, "_run_networks", lambda self, case, *rest: evaluated.append(case) or original(self, case, *rest)
    )
    assert predict(cohort, out, model, "--labels", "2021", "--continue") == 2
    assert evaluated == []  # the failed one is tried again, the other is there


def test_probabilities_do_not_outlive_their_label_map(cohort, model, tmp_path):
    out = tmp_path / "out"
    predict(cohort, out, model, "--save-probabilities", "-f", "0")
    assert predict(cohort, out, model, "-f", "1") == 0
    assert not list(out.glob("*.npz")) and not list(out.glob("*.pkl"))


def test_post_processing_has_a_run_of_its_own_and_keeps_earlier_cases(cohort, model, tmp_path, capsys):
    predicted, out = tmp_path / "predicted", tmp_path / "labels"
    predict(cohort, predicted, model, "--save-probabilities", "--labels", "2021")
    alone = {}
    for case in CASES:
        alone[case] = tmp_path / case
        of_one(cohort, case, alone[case], model, "--save-probabilities", "--labels", "2021")
        assert main(["postprocess", "-i", str(alone[case]), "-o", str(out)]) == 0
    rows = (out / "postprocessing_changes.csv").read_text().splitlines()[1:]
    assert {row.partition(",")[0] for row in rows} == set(CASES)
    assert declared_convention(out.glob("*.nii.gz")).convention.key == "nnunet"
    capsys.readouterr()
    assert main(["postprocess", "-i", str(alone[FIRST]), "-o", str(out), "--wt", "0.1"]) == 2
    assert f"{SECOND} was made with other settings ({OF_A_FLAG} wt then 0.45, now 0.1)" in capsys.readouterr().err
    # into the folder of the prediction in another edition's values: the record is replaced with the label maps
    again = tmp_path / "as_2021"
    predict(cohort, again, model, "--labels", "2021")
    assert main(["postprocess", "-i", str(predicted), "-o", str(again)]) == 0
    assert declared_convention(again.glob("*.nii.gz")).convention.key == "nnunet"
    np.testing.assert_array_equal(values_of(again / f"{FIRST}.nii.gz"), values_of(out / f"{FIRST}.nii.gz"))


def test_an_earlier_version_s_file_is_read(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"")
    cases = {"a": {"warnings": []}, "b": {"error": "x"}}
    (tmp_path / "run.json").write_text(json.dumps({"labels": "2021", "cases": cases}))
    runs = read_runs(tmp_path)
    assert runs.of_file("a.nii.gz")["labels"] == "2021"
    assert runs.of_file("b.nii.gz") is None and runs.of_file("c.nii.gz") is None


@pytest.mark.parametrize(
    "damaged",
    ["[]", "{", '{"cases": []}', '{"cases": {"a": 1}}', '{"cases": {"a": {"earlier_run": 3}}}',
     '{"earlier_runs": 5, "cases": {"a": {"earlier_run": 0}}}', '{"earlier_runs": [1], "cases": {}}'],
)  # fmt: skip
def test_a_damaged_file_is_no_file(tmp_path, damaged, caplog):
    (tmp_path / "run.json").write_text(damaged)
    assert read_runs(tmp_path) is None
    assert "run.json" in caplog.text


def test_the_next_command_speaks_of_what_a_stopped_run_has_not_made(cohort, model, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"

    with stopped_at_the_second(monkeypatch):
        assert predict(cohort, out, model, "--save-probabilities") == 130
    assert content(out)["unmade"] == [SECOND]
    commands = [
        ["submission", "-i", str(out), "-o", str(tmp_path / "submission"), "--edition", "2021"],
        ["postprocess", "-i", str(out), "-o", str(tmp_path / "postprocessed")],
        ["ensemble", "-o", str(tmp_path / "joined"), str(out), str(tmp_path / "postprocessed")],
    ]
    warning = f"1 case not there, such as {SECOND}: resunet-ds predict was stopped, or failed at it"
    for command in commands:
        capsys.readouterr()
        assert main(command) == 0, command
        assert warning in capsys.readouterr().err, command
    assert predict(cohort, out, model, "--save-probabilities", "--continue") == 0
    assert "unmade" not in content(out)
    assert main(["submission", "-i", str(out), "-o", str(tmp_path / "whole"), "--edition", "2021"]) == 0
    assert "without" not in capsys.readouterr().err


def test_a_rerun_that_is_stopped_does_not_count_what_was_there_as_its_own(cohort, model, tmp_path, monkeypatch):
    """Of the same settings, so that the entries alone do not tell: the images may have changed."""
    out = tmp_path / "out"
    assert predict(cohort, out, model) == 0

    with stopped_at_the_second(monkeypatch):
        assert predict(cohort, out, model) == 130
    assert content(out)["unmade"] == [SECOND]
    assert notes_on_unmade(out) == [
        f"{out}: 1 label map of an earlier run, such as {SECOND}: resunet-ds predict was stopped, or failed at it. Run "
        "it again, predict with --continue"
    ]
    assert predict(cohort, out, model) == 0 and notes_on_unmade(out) == []


def test_a_file_that_may_not_be_read_is_no_absent_file(tmp_path):
    (tmp_path / "run.json").mkdir()  # for root may read any file
    with pytest.raises(InputError, match=r"run\.json: cannot be read"):
        read_runs(tmp_path)
