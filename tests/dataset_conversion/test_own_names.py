"""Files of a user's own: found by the usual names of sequences, and images of other names that are left out."""

from pathlib import Path

import pytest
from test_editions import touch

from dataset_conversion.detect_edition import detect_edition, same_images, same_labels
from dataset_conversion.editions import CHANNEL_NAMES, EDITIONS
from dataset_conversion.find_cases import find_cases
from dataset_conversion.image_cases import find_prediction_cases
from dataset_conversion.own_names import OWN
from nnunet_resunet_ds.base.errors import InputError


@pytest.mark.parametrize("key", ["2021", "2023-gli", "upenn-gbm", "menrt"])
def test_images_of_any_id_are_found_by_the_names_of_their_files(key, tmp_path):
    touch(tmp_path, "P001", key)
    decision = detect_edition("auto", [tmp_path], alike=same_images)
    assert decision.edition == OWN and decision.reason.startswith("by the names of the files, such as P001")
    (found,) = find_cases([tmp_path], OWN)
    (expected,) = find_cases([tmp_path], EDITIONS[key])
    assert found.roles == expected.roles and found.case_id == "P001"


OWN_NAMES = {
    "as until 2021": ["P001_t1", "P001_t1ce", "P001_t2", "P001_flair", "P001_seg"],
    "in capitals": ["P001_T1", "P001_T1CE", "P001_T2", "P001_FLAIR", "P001_SEG"],
    "with a dash": ["P001-t1", "P001-t1ce", "P001-t2", "P001-flair", "P001-seg"],
    "as since 2023": ["P001-t1n", "P001-t1c", "P001-t2w", "P001-t2f", "P001-seg"],
    "these with an underscore": ["P001_t1n", "P001_t1c", "P001_t2w", "P001_t2f", "P001_seg"],
    "of two kinds": ["P001_t1n", "P001_t1gd", "P001-t2", "P001_T2_FLAIR", "P001_tumor_segmentation"],
    "BIDS": ["P001_T1w", "P001_ce-gd_T1w", "P001_T2w", "P001_FLAIR", "P001_dseg"],
    "the folder has the id": ["t1", "t1ce", "t2", "flair", "seg"],
    "the folder has it, in capitals": ["T1", "T1GD", "T2", "T2-FLAIR", "SEG"],
}


@pytest.mark.parametrize("names", OWN_NAMES.values(), ids=OWN_NAMES)
def test_the_usual_names_of_sequences_are_known(names, tmp_path, caplog):
    (tmp_path / "P001").mkdir()
    for name in names:
        (tmp_path / "P001" / f"{name}.nii.gz").touch()
    (case,) = find_prediction_cases([tmp_path], CHANNEL_NAMES).cases
    assert case.case_id == "P001" and not caplog.text
    assert [file.name.removesuffix(".nii.gz") for file in case.images.values()] == names[:4]
    assert list(case.images) == list(CHANNEL_NAMES) and not case.rivals and not case.superseded
    (whole,) = find_cases([tmp_path], OWN)
    assert whole.segmentation == tmp_path / "P001" / f"{names[4]}.nii.gz"


def test_a_bare_name_in_the_folder_where_the_command_runs_has_that_folder_s_name(tmp_path, monkeypatch):
    (tmp_path / "P007").mkdir()
    (tmp_path / "P007" / "t1.nii.gz").touch()
    monkeypatch.chdir(tmp_path / "P007")
    (case,) = find_cases([Path()], OWN)
    assert case.case_id == "P007"


def test_two_images_of_one_sequence_are_not_chosen_from(tmp_path):
    (tmp_path / "P001").mkdir()
    for name in ("t1", "t1w", "t1ce", "t2", "flair"):
        (tmp_path / "P001" / f"{name}.nii.gz").write_text(name)
        (tmp_path / "P001" / f"P002_{name}.nii.gz").write_text(name)
    found = find_prediction_cases([tmp_path], CHANNEL_NAMES)
    assert "P001/t1w.nii.gz" in str(found.problems["P001"]) and "P002_t1w.nii.gz" in str(found.problems["P002"])


def test_what_their_labels_mean_is_asked_for(tmp_path):
    touch(tmp_path, "P001", "2021")
    with pytest.raises(
        InputError, match=r"P001 is of none we know, .*--edition 2021 \(NCR 1, ED 2, ET 4\) or --edition"
    ):
        detect_edition("auto", [tmp_path])
    for key in ("2021", "2023-gli"):  # as the message says
        tissues = {tissue.name: value for value, tissue in EDITIONS[key].tissues.items()}
        assert tissues == {"BACKGROUND": 0, "NCR": 1, "ED": 2, "ET": 4 if key == "2021" else 3}


@pytest.mark.parametrize("key", ["2021", "2023-gli"])
@pytest.mark.parametrize("names", OWN_NAMES.values(), ids=OWN_NAMES)
def test_an_edition_that_is_named_says_what_labels_mean_whatever_the_names(names, key, tmp_path):
    (tmp_path / "P001").mkdir()
    for name in names:
        (tmp_path / "P001" / f"{name}.nii.gz").touch()
    edition = detect_edition(key, [tmp_path]).edition
    (case,) = find_cases([tmp_path], edition)
    assert (edition.key, edition.tissues) == (key, EDITIONS[key].tissues)
    assert [file.name.removesuffix(".nii.gz") for file in case.files] == names


def test_an_edition_that_is_named_keeps_its_names_where_they_find_all(tmp_path):
    touch(tmp_path / "a", "P001", "2021")
    assert detect_edition("2021", [tmp_path / "a"]).edition == EDITIONS["2021"]
    touch(tmp_path / "b", "BraTS2021_00001", "2021")
    (tmp_path / "b" / "BraTS2021_00001" / "BraTS2021_00001_t1n.nii.gz").touch()
    assert detect_edition("2021", [tmp_path / "b"]).edition == EDITIONS["2021"]
    touch(tmp_path / "c", "P001", "menrt")  # of one channel, and no other is looked for
    (tmp_path / "c" / "P001" / "P001_t2w.nii.gz").touch()
    assert detect_edition("menrt", [tmp_path / "c"]).edition == EDITIONS["menrt"]


def test_segmentations_alone_tell_nothing(tmp_path):
    (tmp_path / "P001_seg.nii.gz").touch()
    for alike in (same_images, same_labels):
        with pytest.raises(InputError, match="P001 is of none we know; name it whole"):
            detect_edition("auto", [tmp_path], alike=alike)


def test_names_of_two_layouts_are_read_together_and_told_apart_for_labels(tmp_path):
    touch(tmp_path, "P001", "2021")
    touch(tmp_path, "P002", "2023-gli")
    assert [case.case_id for case in find_prediction_cases([tmp_path], CHANNEL_NAMES).cases] == ["P001", "P002"]
    with pytest.raises(InputError, match="P001 is of none we know"):
        detect_edition("auto", [tmp_path])


# ---- images that are left out ----

KNOWN = ["BraTS2021_00001", "BraTS2021_00002"]


@pytest.mark.parametrize(
    ("others", "found", "n_unread"),
    [
        (["P003-t1n", "P003-t1c", "P003-t2w", "P003-t2f"], KNOWN, 4),
        (["P003_0000"], ["P003"], 8),
        ([f"{KNOWN[0]}_t1_bet", f"{KNOWN[0]}_mask", f"{KNOWN[0]}_seg"], KNOWN, 0),
        (["P003_T1w"], KNOWN, 1),
        (["t1"], KNOWN, 1),  # alone in its folder
    ],
)
def test_images_named_otherwise_than_the_other_cases_are_spoken_of(others, found, n_unread, tmp_path, caplog):
    for case in KNOWN:
        touch(tmp_path, case, "2021")
    for name in others:
        (tmp_path / f"{name}.nii.gz").touch()
    cases = find_prediction_cases([tmp_path], ("T1", "T1ce", "T2", "FLAIR")).cases
    assert [case.case_id for case in cases] == found
    said = "" if not n_unread else f"{n_unread} image{'s' if n_unread > 1 else ''} not read, such as"
    assert said in caplog.text and bool(caplog.text) == bool(n_unread)


def test_an_image_of_another_name_is_not_taken_for_an_absent_sequence_without_a_word(tmp_path, caplog):
    case = KNOWN[0]
    touch(tmp_path, case, "2021")
    (tmp_path / case / f"{case}_t1.nii.gz").rename(tmp_path / case / f"{case}_t1n.nii.gz")
    find_prediction_cases([tmp_path], ("T1", "T1ce", "T2", "FLAIR"), allow_missing=("T1",))
    assert "1 image not read, such as" in caplog.text and f"{case}_t1n.nii.gz" in caplog.text
    caplog.clear()
    find_prediction_cases([tmp_path], ("T1ce", "FLAIR"))  # a model that does not read T1
    assert not caplog.text
