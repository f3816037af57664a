import shutil

import numpy as np
import pytest
from brats_files import SHAPE, make_case, replace_one, values_of

from dataset_conversion import convert
from dataset_conversion.write import write_case


def killed_at_second(function):
    """Stand for a process that dies at the second case."""
    calls = []

    def dying(case, *arguments, **more):
        calls.append(case.case_id)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return function(case, *arguments, **more)

    return dying, calls


def test_a_stopped_conversion_goes_on_and_ends_the_same(cohort, raw, monkeypatch, tmp_path):
    for number in (4, 5):
        make_case(cohort, f"BraTS2021_{number:05d}", seed=number)
    whole = convert([cohort], 1, n_threads=1)
    dying, calls = killed_at_second(write_case)
    monkeypatch.setattr("dataset_conversion.conversion.write_case", dying)
    with pytest.raises(KeyboardInterrupt):
        convert([cohort], 137, n_threads=1)
    assert list(raw.glob("Dataset137*")) == []
    partial = raw / ".Dataset137_BraTS2021.partial"
    (partial / "imagesTr" / ".0a1b2c3d.BraTS2021_00004_0000.nii.gz").write_bytes(b"half a file")
    finished = {record.stem for record in (partial / ".finished").iterdir()}
    assert "BraTS2021_00000" in finished and "BraTS2021_00003" not in finished
    n_before = len(calls)
    dataset = convert([cohort], 137, n_threads=1)
    assert {*calls[n_before:]} == {f"BraTS2021_{number:05d}" for number in (0, 3, 4, 5)} - finished
    assert not partial.exists() and not (dataset / ".finished").exists()
    files = {file.relative_to(dataset): file.read_bytes() for file in dataset.rglob("*") if file.is_file()}
    assert files == {file.relative_to(whole): file.read_bytes() for file in whole.rglob("*") if file.is_file()}


def test_a_case_that_changed_or_went_away_meanwhile_is_not_taken_over(cohort, raw, monkeypatch):
    dying, _ = killed_at_second(write_case)
    monkeypatch.setattr("dataset_conversion.conversion.write_case", dying)
    with pytest.raises(KeyboardInterrupt):
        convert([cohort], 137, n_threads=1)
    monkeypatch.setattr("dataset_conversion.conversion.write_case", write_case)
    replace_one(cohort / "BraTS2021_00000", "seg", np.full(SHAPE, 4, np.uint8))
    dataset = convert([cohort], 137)
    assert (values_of(dataset / "labelsTr" / "BraTS2021_00000.nii.gz") == 3).all()


def test_a_case_that_became_a_test_case_meanwhile_is_in_one_place(cohort, raw, monkeypatch, tmp_path):
    dying, _ = killed_at_second(write_case)
    monkeypatch.setattr("dataset_conversion.conversion.write_case", dying)
    with pytest.raises(KeyboardInterrupt):
        convert([cohort], 137, n_threads=1)
    monkeypatch.setattr("dataset_conversion.conversion.write_case", write_case)
    (tmp_path / "val").mkdir()
    case = (cohort / "BraTS2021_00000").rename(tmp_path / "val" / "BraTS2021_00000")
    (case / "BraTS2021_00000_seg.nii.gz").unlink()
    dataset = convert([cohort, tmp_path / "val"], 137)
    places = {
        folder: {file.name[:15] for file in (dataset / folder).iterdir()}
        for folder in ("imagesTr", "labelsTr", "imagesTs")
    }
    assert places == {"imagesTr": {"BraTS2021_00003"}, "labelsTr": {"BraTS2021_00003"}, "imagesTs": {"BraTS2021_00000"}}


@pytest.mark.parametrize("content", ["[]", "{", "{}", '{"made_from": 3}'])
def test_a_damaged_record_is_no_finished_case(cohort, raw, content):
    records = raw / ".Dataset137_BraTS2021.partial" / ".finished"
    records.mkdir(parents=True)
    (records / "BraTS2021_00000.json").write_text(content)
    assert len(list((convert([cohort], 137) / "labelsTr").iterdir())) == 2


def test_a_finished_case_that_is_not_wanted_any_more_is_removed(cohort, raw, monkeypatch):
    dying, _ = killed_at_second(write_case)
    monkeypatch.setattr("dataset_conversion.conversion.write_case", dying)
    with pytest.raises(KeyboardInterrupt):
        convert([cohort], 137, n_threads=1)
    monkeypatch.setattr("dataset_conversion.conversion.write_case", write_case)
    shutil.rmtree(cohort / "BraTS2021_00000")
    dataset = convert([cohort], 137)
    assert {file.name[:15] for file in dataset.rglob("*.nii.gz")} == {"BraTS2021_00003"}
