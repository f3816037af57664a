"""What is said of label values is not believed where run.json knows that they were written otherwise."""

from contextlib import nullcontext

import numpy as np
import pytest
from brats_files import make_case, write

from dataset_conversion.editions import EDITIONS
from dataset_conversion.find_cases import find_cases
from dataset_conversion.inspect_case import inspect_case
from nnunet_resunet_ds.base.case_notes import MADE_WITH
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import write_json
from nnunet_resunet_ds.base.run_file import LABELS, MADE_BY, RunFile
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.evaluation.label_maps import find_label_maps

CASES = ("BraTS2021_00000", "BraTS2021_00001")
WRITTEN_OTHERWISE, PREDICTED = "values that run.json contradicts", "segmentation: a prediction in other values"
LABEL_MAP = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) % 3  # 1 and 2, which editions exchange


def note(folder, labels, *names):
    run_file = RunFile(folder, {MADE_BY: "resunet-ds predict", LABELS: labels})
    run_file.open(names)
    for name in names:
        run_file.note(name, f"{name}.nii.gz", {})
    run_file.close()


@pytest.fixture
def predicted(tmp_path):
    """Two label maps that predict wrote in the values of BraTS 2021."""
    folder = tmp_path / "predicted"
    for case in CASES:
        write(folder / f"{case}.nii.gz", LABEL_MAP)
    note(folder, "2021", *CASES)
    return folder


@pytest.mark.parametrize(("said", "code"), [("nnunet", 2), ("2021", 0), ("2023-gli", 0)])
def test_submission_refuses_a_second_translation(predicted, capsys, bad_input, said, code):
    """2023-gli has the values of 2021 but for 4, so that nothing contradicts it."""
    words = ["submission", "-i", str(predicted), "-o", str(predicted.parent / "out"), "--edition", "2021"]
    assert main([*words, "--labels", said]) == code
    if code:
        error = capsys.readouterr().err
        assert f"{CASES[0]}.nii.gz: has the label values of BraTS 2021" in error and "not those of nnU-Net" in error
        bad_input("submission", WRITTEN_OTHERWISE, next(line for line in error.splitlines() if "error:" in line))


def test_evaluate_and_ensemble_refuse_it_too(predicted, capsys):
    other = predicted.parent / "other"
    for case in CASES:
        write(other / f"{case}.nii.gz", LABEL_MAP)
    assert main(["evaluate", "-ref", str(other), "-pred", str(predicted), "--pred-labels", "nnunet"]) == 2
    words = ["ensemble", str(predicted), str(other), "-o", str(predicted.parent / "both")]
    assert main([*words, "--input-labels", "nnunet", "2021"]) == 2
    assert capsys.readouterr().err.count("has the label values of BraTS 2021, as ") == 2


def test_of_a_label_map_that_has_changed_since_anything_may_be_said(predicted):
    for case in CASES:
        write(predicted / f"{case}.nii.gz", 2 - LABEL_MAP)
    words = ["submission", "-i", str(predicted), "-o", str(predicted.parent / "out"), "--edition", "2021"]
    assert main([*words, "--labels", "nnunet"]) == 0


@pytest.mark.parametrize(("labels", "problems"), [("nnunet", 1), ("2021", 0)])
def test_convert_refuses_a_prediction_in_other_values_as_segmentation(tmp_path, bad_input, labels, problems):
    case = CASES[0]
    make_case(tmp_path, case)
    folder = tmp_path / case
    run_file = RunFile(folder, {MADE_BY: "resunet-ds predict", LABELS: labels})
    run_file.open([f"{case}_seg"])
    run_file.note(f"{case}_seg", f"{case}_seg.nii.gz", {})
    edition = EDITIONS["2021"]
    (found,) = find_cases([tmp_path], edition)
    refusal = pytest.raises(InputError, match="it is a prediction, and no reference")
    with refusal if problems else nullcontext() as refused:
        assert inspect_case(found, edition).problems == []
    if refused:
        bad_input("convert", PREDICTED, str(refused.value))


def test_what_is_said_against_a_dataset_json_is_obeyed_with_a_warning(tmp_path, caplog):
    write(tmp_path / "labels" / f"{CASES[0]}.nii.gz", LABEL_MAP)
    labels = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}
    write_json({"labels": labels, "regions_class_order": [1, 2, 3]}, tmp_path / "labels" / "dataset.json")
    assert find_label_maps(tmp_path / "labels", "nnunet").labels == "nnunet" and not caplog.text
    assert find_label_maps(tmp_path / "labels", "2021").labels == "2021"
    assert "read with the values of BraTS 2021, as you said; as " in caplog.text
    assert "dataset.json says they have those of nnU-Net" in caplog.text


def test_label_maps_of_other_weights_do_not_come_into_one_submission(predicted, capsys):
    out = predicted.parent / "out"
    for case, weights in zip(CASES, ("first", "second"), strict=True):
        one = predicted.parent / weights
        write(one / f"{case}.nii.gz", LABEL_MAP)
        run_file = RunFile(one, {MADE_BY: "resunet-ds predict", LABELS: "2021"})
        run_file.open([case])
        run_file.note(case, f"{case}.nii.gz", {MADE_WITH: [weights]})
        run_file.close()
        code = main(["submission", "-i", str(one), "-o", str(out), "--edition", "2021"])
        assert code == (2 if weights == "second" else 0)
    assert "weights that predicted the input: others then" in capsys.readouterr().err
    assert main(["submission", "-i", str(one), "-o", str(out), "--edition", "2021", "--overwrite"]) == 0
