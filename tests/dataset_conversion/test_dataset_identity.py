"""Raw dataset, preprocessed dataset and split: each command says when they are no longer of the same cases."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from ablations import settings
from brats_files import make_case, replace_one, values_of, write
from preprocessed import write_preprocessed, write_split
from trainers import small, trainer

from dataset_conversion import convert
from dataset_conversion.editions import EDITIONS
from dataset_conversion.splits import patient_of
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import identity_of, is_same
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.doctor import FAIL, OK, WARN
from nnunet_resunet_ds.doctor.data import dataset as look_at_dataset
from nnunet_resunet_ds.experiments.ablation.settings import check_settings, keep_settings

IDS = [f"BraTS2021_{number:05d}" for number in range(6)]


@pytest.fixture
def preprocessed(dataset, nnunet_folders):
    """Five cases, converted and preprocessed: (dataset fixture, raw dataset, preprocessed dataset)."""
    for number, case in enumerate(IDS[:5]):
        make_case(nnunet_folders / "train", case, seed=number)
    raw = convert([nnunet_folders / "train"], 137)
    folder = dataset[2]
    (folder / "nnUNetPlans.json").write_text(json.dumps(dataset[0]))
    preprocess(raw, folder, IDS[:5])
    return dataset, raw, folder


def preprocess(raw, folder, cases, **how):
    shutil.copy(raw / "dataset.json", folder)
    shutil.rmtree(folder / "gt_segmentations", ignore_errors=True)
    shutil.copytree(raw / "labelsTr", folder / "gt_segmentations")
    write_preprocessed(folder, cases, **how)


def train_on(dataset):
    """Make a trainer, and return its log."""
    dataset_json = json.loads((dataset[2] / "dataset.json").read_text())
    return Path(trainer(dataset, small(dataset[0]), dataset_json=dataset_json).log_file).read_text()


def level_of_preprocessed():
    _, found, _ = look_at_dataset(137)
    return found.level, f"{found.text} {found.remedy}"


def add_case(nnunet_folders, case=IDS[5]):
    make_case(nnunet_folders / "train", case, seed=9)
    return convert([nnunet_folders / "train"], 137)


# ---- files ----


def test_a_file_is_known_by_its_bytes_whatever_its_path_and_time(tmp_path):
    file, copy = tmp_path / "a", tmp_path / "b"
    file.write_bytes(b"1234")
    known = identity_of(file)
    shutil.copyfile(file, copy)
    assert is_same(known, file) and is_same(known, copy)
    copy.write_bytes(b"1235")
    assert not is_same(known, copy)
    file.write_bytes(b"12345")
    assert not is_same(known, file)


def test_bytes_are_read_again_only_where_the_time_is_another(tmp_path, monkeypatch):
    file = tmp_path / "a"
    file.write_bytes(b"1234")
    known = identity_of(file)
    monkeypatch.setattr("nnunet_resunet_ds.base.files.digest", lambda path: pytest.fail("read again"))
    assert is_same(known, file)


# ---- conversion: its own files ----


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: bytes(len(data)), lambda data: b""])
def test_a_damaged_label_map_is_made_again(cohort, raw, damage, caplog):
    dataset = convert([cohort], 137)
    file = dataset / "labelsTr" / "BraTS2021_00003.nii.gz"
    before = values_of(file)
    file.write_bytes(damage(file.read_bytes()))
    with caplog.at_level(logging.WARNING):
        convert([cohort], 137)
    np.testing.assert_array_equal(values_of(file), before)
    assert "files of 1 cases, such as BraTS2021_00003, are not as they were written" in caplog.text


def test_a_dataset_that_was_copied_is_up_to_date_and_not_made_again(cohort, raw, monkeypatch):
    dataset = convert([cohort], 137)
    shutil.copytree(dataset, raw / "copy")  # with other times of change
    shutil.rmtree(dataset)
    (raw / "copy").rename(dataset)
    for file in (dataset / "labelsTr").iterdir():
        file.touch()
    monkeypatch.setattr("dataset_conversion.conversion.write_case", lambda *_: pytest.fail("made again"))
    convert([cohort], 137)


def test_dataset_json_tells_cases_from_others(cohort, raw):
    def identity(number):
        return json.loads((convert([cohort], number) / "dataset.json").read_text())["identity"]

    first = identity(1)
    assert identity(2) == first
    make_case(cohort.parent / "val", "BraTS2021_00007", labelled=False)
    folder = convert([cohort, cohort.parent / "val"], 3)
    assert json.loads((folder / "dataset.json").read_text())["identity"] == first  # a test case is none to train on
    replace_one(cohort / "BraTS2021_00000", "t1", np.ones((6, 7, 8), np.int16))
    assert identity(4) != first


@pytest.mark.parametrize("command", ["convert", "evaluate"])
def test_a_corrected_copy_of_a_label_map_is_not_passed_over(cohort, raw, tmp_path, capsys, command):
    """``X_seg.nii`` next to a different ``X_seg.nii.gz``."""
    case = cohort / IDS[0]
    packed = case / f"{case.name}_seg.nii.gz"
    values = values_of(packed)
    values[0, 0, 0] = 4 if values[0, 0, 0] != 4 else 0
    write(packed.with_suffix(""), values)
    words = ["-ref", str(cohort), "-pred", str(cohort)] if command == "evaluate" else [str(cohort), "-d", "137"]
    assert main([command, *words]) == 2
    error = capsys.readouterr().err
    assert packed.name in error and f"{packed.with_suffix('').name}:" in error.replace(" ", ":")


# ---- raw and preprocessed ----


def test_what_belongs_together_is_not_complained_of(preprocessed):
    dataset, _, folder = preprocessed
    write_split(folder, IDS[:2], IDS[2:5], cases=IDS[:5])
    assert "preprocess" not in train_on(dataset)
    assert level_of_preprocessed()[0] == OK


def test_a_fingerprint_of_fewer_cases_is_refused_with_the_command(preprocessed, nnunet_folders):
    """As nnU-Net leaves it where cases were added and preprocessed without --clean."""
    dataset, _, folder = preprocessed
    raw = add_case(nnunet_folders)
    preprocess(raw, folder, IDS, fingerprint_of=5)
    with pytest.raises(InputError, match=r"is of 5 cases, and .* has 6.*plan_and_preprocess -d 137 .* --clean"):
        train_on(dataset)
    level, text = level_of_preprocessed()
    assert level == FAIL and "is of 5 cases" in text


@pytest.mark.parametrize("other", [{"shape": (135, 163, 138)}, {"spacing": (1.0, 1.0, 1.5)}])
def test_a_fingerprint_of_other_cases_of_the_same_number_is_refused(preprocessed, other):
    dataset, raw, folder = preprocessed
    fingerprint = (folder / "dataset_fingerprint.json").read_bytes()
    preprocess(raw, folder, IDS[:5], **other)
    (folder / "dataset_fingerprint.json").write_bytes(fingerprint)
    with pytest.raises(InputError, match=r"dataset_fingerprint.json: has .* which was preprocessed with"):
        train_on(dataset)


def test_cases_that_are_not_preprocessed_yet_are_a_line(preprocessed, nnunet_folders):
    dataset, _, _ = preprocessed
    add_case(nnunet_folders)
    line = f"such as {IDS[5]}, are not preprocessed"
    assert line in train_on(dataset)
    level, text = level_of_preprocessed()
    assert level == WARN and line in text


def remake(nnunet_folders, raw, change):
    shutil.rmtree(raw)
    change(nnunet_folders / "train")
    assert convert([nnunet_folders / "train"], 137) == raw


REMADE = {
    "other cases": (
        lambda train: (train / IDS[0]).rename(train / "gone") and shutil.rmtree(train / "gone"),
        f"1 of its cases, such as {IDS[0]}, are not in",
    ),
    "another label map": (
        lambda train: replace_one(train / IDS[0], "seg", np.eye(7, 8, dtype=np.uint8)[None].repeat(6, 0)),
        "is not the label map that was preprocessed",
    ),
    "another image": (
        lambda train: replace_one(train / IDS[0], "t1", np.ones((6, 7, 8), np.int16)),
        "had other images",
    ),
}


@pytest.mark.parametrize("kind", REMADE)
def test_a_raw_dataset_made_anew_from_other_files_is_told(preprocessed, nnunet_folders, kind):
    dataset, raw, _ = preprocessed
    change, message = REMADE[kind]
    remake(nnunet_folders, raw, change)
    with pytest.raises(InputError, match=message):
        train_on(dataset)
    level, text = level_of_preprocessed()
    assert level == FAIL and message in text and "--clean" in text


def test_without_the_raw_dataset_training_goes_on(preprocessed, monkeypatch):
    """As on a cluster that has the preprocessed data alone."""
    dataset, raw, _ = preprocessed
    shutil.rmtree(raw)
    train_on(dataset)
    monkeypatch.delenv("nnUNet_raw")
    train_on(dataset)


def test_data_of_other_plans_is_named_with_the_command_that_makes_it_again(preprocessed, nnunet_folders, caplog):
    _, _, folder = preprocessed
    (folder / "PlansOfPretrained.json").write_text("{}")
    (folder / "PlansOfPretrained_3d_fullres").mkdir()
    with caplog.at_level(logging.WARNING):
        add_case(nnunet_folders)
    again = "nnUNetv2_preprocess -d 137 -plans_name PlansOfPretrained -c 3d_fullres"
    assert (
        "the data of the plans PlansOfPretrained, if you train with them: nnUNetv2_extract_fingerprint" in caplog.text
    )
    assert again in caplog.text


# ---- splits ----


def test_cases_in_no_fold_are_named_by_every_command(preprocessed, nnunet_folders, caplog, capsys):
    dataset, raw, folder = preprocessed
    write_split(folder, IDS[:2], IDS[2:5], cases=IDS[:5])
    with caplog.at_level(logging.WARNING):
        add_case(nnunet_folders)
    said = f"no fold has 1 of the training cases, such as {IDS[5]}"
    assert said in caplog.text and "resunet-ds splits --overwrite" in caplog.text and "--clean" in caplog.text
    preprocess(raw, folder, IDS)
    assert said in train_on(dataset)
    level, text = level_of_preprocessed()
    assert level == WARN and said in text
    capsys.readouterr()
    assert main(["train", "-d", "137", "--dry-run", "-device", "cpu"]) == 0
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("edition", [None, EDITIONS["2023-gli"], EDITIONS["2024-gli"]])
def test_time_points_of_a_patient_stay_together_whatever_release_they_are_of(edition):
    ids = [f"BraTS-GLI-00005-{time_point}" for time_point in ("000", "001", "100", "101")]
    assert {patient_of(case, edition) for case in ids} == {"BraTS-GLI-00005"}
    assert patient_of("BraTS-GLI-00006-100", edition) != patient_of(ids[0], edition)
    assert patient_of("Mine_7", edition) == "Mine_7"


def test_the_manifest_knows_what_was_written(cohort, raw):
    dataset = convert([cohort], 137)
    entries = json.loads((dataset / "conversion.json").read_text())["cases"]
    for case, entry in entries.items():
        for channel, role in enumerate(("T1", "T1ce", "T2", "FLAIR")):
            written = identity_of(dataset / "imagesTr" / f"{case}_{channel:04d}.nii.gz")
            assert entry["written"][role] == written
            assert entry["images"][role]["sha256"] == written["sha256"]
        assert entry["written"]["segmentation"] == identity_of(dataset / "labelsTr" / f"{case}.nii.gz")


def test_an_ablation_is_not_gone_on_with_after_the_dataset_has_changed(dataset):
    of, file = settings(dataset), dataset[2] / "dataset.json"
    content = json.loads(file.read_text())
    keep_settings(of)  # of a dataset that notes nothing, as nnU-Net's script makes it
    file.write_text(json.dumps({**content, "identity": "a" * 64}))
    check_settings(of)
    keep_settings(of)
    check_settings(of)
    file.write_text(json.dumps({**content, "identity": "b" * 64}))
    with pytest.raises(InputError, match="was begun on other images than"):
        check_settings(of)
