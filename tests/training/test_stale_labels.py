"""Data of label maps that were corrected since is refused; and what would only look so is not."""

import os

import numpy as np
import pytest
from brats_files import write
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from preprocessed import write_training_data

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.nnunet_folders import preprocess_again_command
from nnunet_resunet_ds.training.checks.stale_labels import check_labels_are_of

CASE = "case_1"
BEFORE, AFTER = -3600, 3600


@pytest.fixture
def data(tmp_path):
    """Preprocessed cases, and their label maps as nnU-Net copies them: of the time at which they were drawn."""
    write_training_data(tmp_path, n=3)
    folder = tmp_path / "nnUNetPlans_3d_fullres"
    cases = [f"case_{number}" for number in range(3)]
    references = {case: tmp_path / "gt_segmentations" / f"{case}.nii.gz" for case in cases}
    for case, file in references.items():
        write(file, labels_of(folder, case))
        drawn(file, BEFORE)
    return folder, references


def labels_of(folder, case):
    seg = np.asarray(nnUNetDatasetBlosc2(str(folder), [case]).load_case(case)[1])[0]
    return np.where(seg > 0, seg, 0).astype(np.uint8)


def drawn(file, seconds):
    now = (file.parents[1] / "nnUNetPlans_3d_fullres" / f"{CASE}.pkl").stat().st_mtime
    os.utime(file, (now + seconds,) * 2)


def check(data, spacing=(1.0, 1.0, 1.0), n_at_most=9):
    check_labels_are_of(*data, spacing, n_at_most, "make it again")


def corrected(folder, case):
    labels = labels_of(folder, case)
    return np.where(labels == 2, 3, labels).astype(np.uint8)


def test_a_correction_is_refused_with_the_case_and_what_to_do(data):
    folder, references = data
    check(data)
    write(references[CASE], corrected(folder, CASE))
    drawn(references[CASE], AFTER)
    with pytest.raises(InputError, match=rf"{CASE} was preprocessed with another label map .* label 2 .*make it again"):
        check(data)


def test_label_maps_that_only_look_new_are_taken_as_they_are(data):
    """As after copying both folders, which gives all files the time of the copy."""
    for file in data[1].values():
        drawn(file, AFTER)
    check(data)


def test_volumes_are_compared_in_mm3_so_that_other_spacings_do_not_matter(data):
    folder, references = data
    labels = labels_of(folder, CASE)
    write(references[CASE], labels.repeat(2, 0).repeat(2, 1).repeat(2, 2), spacing=(0.5, 0.5, 0.5))
    drawn(references[CASE], AFTER)
    check(data)
    with pytest.raises(InputError, match="another label map"):
        check(data, spacing=(2.0, 2.0, 2.0))


def test_no_more_cases_are_read_than_allowed(data):
    folder, references = data
    for case, file in references.items():
        write(file, corrected(folder, case) if case == "case_2" else labels_of(folder, case))
        drawn(file, AFTER)
    check(data, n_at_most=2)
    with pytest.raises(InputError, match="case_2"):
        check(data, n_at_most=3)


@pytest.mark.parametrize(
    ("plans", "there", "expected"),
    [
        ("nnUNetPlans", True, "nnUNetv2_plan_and_preprocess -d 137 -c 3d_fullres"),
        ("Coarse", False, "nnUNetv2_plan_and_preprocess -d 137 -c 3d_fullres"),
        (
            "Coarse",
            True,
            "nnUNetv2_extract_fingerprint -d 137 --clean && "
            "nnUNetv2_preprocess -d 137 -plans_name Coarse -c 3d_fullres",
        ),
    ],
)
def test_data_is_made_again_for_its_own_plans(tmp_path, nnunet_folders, plans, there, expected):
    folder = tmp_path / "Dataset137_BraTS2021"
    folder.mkdir()
    if there:
        (folder / f"{plans}.json").write_text("{}")
    assert preprocess_again_command(folder, "3d_fullres", f"{plans}_3d_fullres") == expected
