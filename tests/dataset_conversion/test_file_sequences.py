"""Which sequence the name of a file says, written out by hand for every edition."""

from pathlib import Path

import pytest

from dataset_conversion.editions import CHANNEL_NAMES
from dataset_conversion.file_sequences import cases_named, named_otherwise, sequence_of_file

NAMES = {
    "BraTS2021_01476_t1.nii.gz": "T1",
    "BraTS2021_01476_t1ce.nii.gz": "T1ce",
    "Brats18_TCIA01_201_1_t2.nii": "T2",
    "BraTS2021_01476_FLAIR.nii.gz": "FLAIR",
    "BraTS-GLI-00001-000-t1n.nii.gz": "T1",
    "BraTS-GLI-00001-000-t1c.nii.gz": "T1ce",
    "BraTS-GLI-00001-000-t2w.nii.gz": "T2",
    "BraTS-GLI-00001-000-t2f.nii.gz": "FLAIR",
    "BraTS-MEN-RT-0001-1_t1c.nii.gz": "T1ce",
    "UPENN-GBM-00001_11_T1GD.nii.gz": "T1ce",
    "UCSF-PDGM-0001_T1gad.nii.gz": "T1ce",
    "t1ce.nii.gz": "T1ce",
    "T2.nii.gz": "T2",
    "sub-01_T1w.nii.gz": "T1",
    "sub-01_ce-gadolinium_T1w.nii.gz": "T1ce",
    "sub-01_ce-another_T1w.nii.gz": None,
    "a.nii.gz": None,
    "notes_t1.txt": None,
}


@pytest.mark.parametrize(("name", "sequence"), NAMES.items())
def test_a_name_says_a_sequence_or_none(name, sequence):
    assert sequence_of_file(name) == sequence


def given(*names):
    return {sequence: Path(name) for sequence, name in zip(CHANNEL_NAMES, names, strict=True)}


def test_exchanged_files_are_both_named():
    files = given("a_t1ce.nii.gz", "a_t1.nii.gz", "a_t2.nii.gz", "a_flair.nii.gz")
    assert list(named_otherwise(files, CHANNEL_NAMES)) == ["T1", "T1ce"]
    files = given("a_t1.nii.gz", "a_t1ce.nii.gz", "a_t2.nii.gz", "a_flair.nii.gz")
    assert named_otherwise(files, CHANNEL_NAMES) == {}


def test_numbers_of_nnunet_follow_the_model_s_channels():
    files = given(*(f"a_{number:04d}.nii.gz" for number in (0, 1, 3, 2)))
    assert list(named_otherwise(files, CHANNEL_NAMES)) == ["T2", "FLAIR"]
    assert named_otherwise(files, ("T1", "T1ce", "FLAIR", "T2")) == {}


def test_a_number_that_all_share_is_that_of_the_case():
    files = given(*(f"{folder}/patient_0001.nii.gz" for folder in CHANNEL_NAMES))
    assert named_otherwise(files, CHANNEL_NAMES) == {}


def test_cases_are_told_by_names_of_sequences_alone():
    def named(*names):
        return cases_named(map(Path, names))

    assert named("A_t1.nii.gz", "A_t1ce.nii.gz", "A-t2w.nii", "A_FLAIR.nii.gz") == ["A"]
    assert named("A_t1.nii.gz", "B_flair.nii.gz") == ["A", "B"]
    assert named("sub-1_ses-2_T1w.nii.gz", "sub-1_ses-2_ce-gd_T1w.nii.gz") == ["sub-1_ses-2"]
    assert named("t1.nii.gz", "t2.nii.gz", "sub-1_ce-another_T1w.nii.gz", "anything.nii.gz") == []
