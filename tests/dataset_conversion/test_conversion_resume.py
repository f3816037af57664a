import contextlib
import fcntl
import itertools
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from brats_files import SHAPE, make_case, replace_one, values_of, without_times

from dataset_conversion import convert, staging
from dataset_conversion.write import write_case
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.parallel import threads


def killed_at_second(function):
    """Stand for a process that dies at the second case."""
    calls = []

    def dying(case, *arguments, **more):
        calls.append(case.case_id)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return function(case, *arguments, **more)

    return dying, calls


def content_of(dataset):
    """File → its bytes, in conversion.json without the times at which files were written."""
    return {
        file.relative_to(dataset): without_times(file.read_bytes()) for file in dataset.rglob("*") if file.is_file()
    }


def test_a_stopped_conversion_goes_on_and_ends_the_same(cohort, raw, monkeypatch, tmp_path):
    for number in (4, 5):
        make_case(cohort, f"BraTS2021_{number:05d}", seed=number)
    whole = convert([cohort], 1, executor=threads(1))
    dying, calls = killed_at_second(write_case)
    monkeypatch.setattr("dataset_conversion.conversion.write_case", dying)
    with pytest.raises(KeyboardInterrupt):
        convert([cohort], 137, executor=threads(1))
    assert list(raw.glob("Dataset137*")) == []
    partial = raw / ".Dataset137_BraTS2021.partial"
    (partial / "imagesTr" / ".0a1b2c3d.BraTS2021_00004_0000.nii.gz").write_bytes(b"half a file")
    finished = {record.stem for record in (partial / ".finished").iterdir()}
    assert "BraTS2021_00000" in finished and "BraTS2021_00003" not in finished
    n_before = len(calls)
    dataset = convert([cohort], 137, executor=threads(1))
    assert {*calls[n_before:]} == {f"BraTS2021_{number:05d}" for number in (0, 3, 4, 5)} - finished
    assert not partial.exists() and not (dataset / ".finished").exists()
    assert content_of(dataset) == content_of(whole)


def test_a_case_that_changed_or_went_away_meanwhile_is_not_taken_over(cohort, raw, monkeypatch):
    dying, _ = killed_at_second(write_case)
    monkeypatch.setattr("dataset_conversion.conversion.write_case", dying)
    with pytest.raises(KeyboardInterrupt):
        convert([cohort], 137, executor=threads(1))
    monkeypatch.setattr("dataset_conversion.conversion.write_case", write_case)
    replace_one(cohort / "BraTS2021_00000", "seg", np.full(SHAPE, 4, np.uint8))
    dataset = convert([cohort], 137)
    assert (values_of(dataset / "labelsTr" / "BraTS2021_00000.nii.gz") == 3).all()


def test_a_case_that_became_a_test_case_meanwhile_is_in_one_place(cohort, raw, monkeypatch, tmp_path):
    dying, _ = killed_at_second(write_case)
    monkeypatch.setattr("dataset_conversion.conversion.write_case", dying)
    with pytest.raises(KeyboardInterrupt):
        convert([cohort], 137, executor=threads(1))
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
        convert([cohort], 137, executor=threads(1))
    monkeypatch.setattr("dataset_conversion.conversion.write_case", write_case)
    shutil.rmtree(cohort / "BraTS2021_00000")
    dataset = convert([cohort], 137)
    assert {file.name[:15] for file in dataset.rglob("*.nii.gz")} == {"BraTS2021_00003"}


KILLED = """
import os, signal, sys
import dataset_conversion.conversion as conversion
from nnunet_resunet_ds.base.parallel import threads
write_case = conversion.write_case
def dying(case, *arguments):
    if case.case_id.endswith("5"):
        os.kill(os.getpid(), signal.SIGKILL)
    return write_case(case, *arguments)
conversion.write_case = dying
conversion.convert([sys.argv[1]], 137, executor=threads(1))
"""


def test_after_kill_9_a_rerun_ends_byte_identical_without_redoing_cases(cohort, raw, monkeypatch):
    for number in (4, 5, 6):
        make_case(cohort, f"BraTS2021_{number:05d}", seed=number)
    whole = convert([cohort], 1)
    done = subprocess.run([sys.executable, "-c", KILLED, str(cohort)], check=False, capture_output=True)
    assert done.returncode == -9
    written = []
    monkeypatch.setattr(
        "dataset_conversion.conversion.write_case",
        lambda case, *arguments: (written.append(case.case_id), write_case(case, *arguments))[1],
    )
    dataset = convert([cohort], 137)
    assert sorted(written) == ["BraTS2021_00005", "BraTS2021_00006"]
    for file in (whole / "labelsTr").iterdir():
        assert (dataset / "labelsTr" / file.name).read_bytes() == file.read_bytes()
    assert sorted(path.name for path in raw.iterdir()) == ["Dataset001_BraTS2021", "Dataset137_BraTS2021"]


def test_a_finished_case_whose_file_is_gone_is_made_again(cohort, raw, monkeypatch):
    dying, calls = killed_at_second(write_case)
    monkeypatch.setattr("dataset_conversion.conversion.write_case", dying)
    with pytest.raises(KeyboardInterrupt):
        convert([cohort], 137, executor=threads(1))
    (raw / ".Dataset137_BraTS2021.partial" / "labelsTr" / "BraTS2021_00000.nii.gz").unlink()
    dataset = convert([cohort], 137, executor=threads(1))
    assert calls[2:] == ["BraTS2021_00000", "BraTS2021_00003"]
    assert len(list((dataset / "labelsTr").iterdir())) == 2


@pytest.mark.parametrize("number", range(2))
def test_killed_while_it_takes_its_place_nothing_is_redone(cohort, raw, monkeypatch, number):
    """The steps are: rename the dataset that is complete, remove the records that came along."""
    count = itertools.count()

    def dying(function):
        def wrapped(*arguments, **more):
            if next(count) == number:
                raise KeyboardInterrupt
            return function(*arguments, **more)

        return wrapped

    def publish_and_die(*arguments):
        patch.setattr(Path, "rename", dying(Path.rename))
        patch.setattr(staging.shutil, "rmtree", dying(shutil.rmtree))
        return staging.publish(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("dataset_conversion.conversion.publish", publish_and_die)
        with contextlib.suppress(KeyboardInterrupt):
            convert([cohort], 137)
    assert next(count) > number
    with monkeypatch.context() as patch:
        patch.setattr("dataset_conversion.conversion.write_case", None)
        dataset = convert([cohort], 137)
    assert len(list((dataset / "labelsTr").iterdir())) == 2 and not (dataset / ".finished").exists()
    assert [path.name for path in raw.iterdir()] == [dataset.name]


def test_other_inputs_do_not_drop_the_cases_that_are_there(cohort, raw, tmp_path):
    convert([cohort], 137)
    make_case(tmp_path / "more", "BraTS2021_00009")
    with pytest.raises(InputError, match=r"2 of its cases are not in these inputs, for example BraTS2021_00000"):
        convert([tmp_path / "more"], 137)
    assert len(list((raw / "Dataset137_BraTS2021" / "labelsTr").iterdir())) == 2
    convert([cohort, tmp_path / "more"], 137)
    convert([tmp_path / "more"], 137, overwrite=True)
    assert [file.name for file in (raw / "Dataset137_BraTS2021" / "labelsTr").iterdir()] == ["BraTS2021_00009.nii.gz"]


def test_files_of_the_user_s_own_are_not_dropped(cohort, raw, tmp_path):
    own = convert([cohort], 137) / "imagesTs" / "mine_0000.nii.gz"
    own.write_bytes(b"mine")
    make_case(cohort, "BraTS2021_00009")
    with pytest.raises(InputError, match=r"mine_0000\.nii\.gz: was not put there"):
        convert([cohort], 137)
    assert own.read_bytes() == b"mine"


def test_a_missing_dataset_json_is_made_again(cohort, raw):
    dataset = convert([cohort], 137)
    content = (dataset / "dataset.json").read_text()
    (dataset / "dataset.json").unlink()
    convert([cohort], 137)
    assert (dataset / "dataset.json").read_text() == content


def test_two_at_a_time_are_refused(cohort, raw):
    partial = raw / ".Dataset137_BraTS2021.partial"
    partial.mkdir()
    descriptor = os.open(partial, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(InputError, match="another process is writing this"):
        convert([cohort], 137)
    os.close(descriptor)
    convert([cohort], 137)


def test_cases_of_another_year_join_the_dataset_under_its_name(cohort, raw, tmp_path):
    dataset = convert([cohort], 137)
    make_case(tmp_path / "earlier", "Brats18_TCIA01_201_1", seed=5)
    assert convert([cohort, tmp_path / "earlier"], 137) == dataset == raw / "Dataset137_BraTS2021"
    images = {file.name for file in (dataset / "imagesTr").iterdir()}
    assert "Brats18_TCIA01_201_1_0000.nii.gz" in images and len(images) == 12
    assert convert([tmp_path / "earlier"], 138).name == "Dataset138_BraTS2018"


def test_run_again_it_adds_what_is_new_and_keeps_what_is_not_its_own(cohort, raw, monkeypatch, caplog):
    caplog.set_level(logging.INFO, LOG.name)
    dataset = convert([cohort], 137)
    split = json.dumps([{"train": ["BraTS2021_00000"], "val": ["BraTS2021_00003"]}])
    (dataset / "splits_final.json").write_text(split)
    before = (dataset / "conversion.json").stat().st_mtime_ns
    convert([cohort], 137)
    assert (dataset / "conversion.json").stat().st_mtime_ns == before
    assert "is up to date" in caplog.text
    make_case(cohort, "BraTS2021_00007", seed=7)
    written = []
    monkeypatch.setattr(
        "dataset_conversion.conversion.write_case",
        lambda case, *arguments: (written.append(case.case_id), write_case(case, *arguments))[1],
    )
    convert([cohort], 137)
    assert written == ["BraTS2021_00007"]
    assert json.loads((dataset / "dataset.json").read_text())["numTraining"] == 3
    assert len(list((dataset / "imagesTr").iterdir())) == 12
    assert (dataset / "splits_final.json").read_text() == split
    assert "splits_final.json: no fold has 1 of the training cases, such as BraTS2021_00007" in caplog.text
    assert [path.name for path in raw.iterdir()] == [dataset.name]


def test_an_exchange_that_was_interrupted_is_completed_or_taken_back(cohort, raw):
    dataset = convert([cohort], 137)
    dataset.rename(raw / ".Dataset137_BraTS2021.replaced")  # killed between the two renames
    convert([cohort], 137)
    assert [path.name for path in raw.iterdir()] == [dataset.name]


def test_symbolic_links_on_request(cohort, raw):
    dataset = convert([cohort], 137, link_mode="symlink")
    image = dataset / "imagesTr" / "BraTS2021_00000_0000.nii.gz"
    assert image.is_symlink() and image.samefile(cohort / "BraTS2021_00000" / "BraTS2021_00000_t1.nii.gz")
    make_case(cohort, "BraTS2021_00007", seed=7)
    convert([cohort], 137, link_mode="symlink")
    assert image.is_symlink() and image.exists()


def test_a_conversion_left_under_another_name_is_mentioned(cohort, raw, caplog):
    (raw / ".Dataset137_Old.partial").mkdir()
    convert([cohort], 137)
    assert ".Dataset137_Old.partial is left of a conversion" in caplog.text
