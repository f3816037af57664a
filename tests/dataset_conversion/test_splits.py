import json

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataset_conversion.splits import SplitCase, make_folds, write_splits
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.cli import main


def cohort(n_patients, time_points=1, every_et=2):
    return [
        SplitCase(f"p{patient:03d}-{time:03d}", f"p{patient:03d}", patient % every_et == 0)
        for patient in range(n_patients)
        for time in range(time_points)
    ]


cases = st.lists(
    st.builds(SplitCase, case_id=st.uuids().map(str), patient=st.sampled_from("abcdefghij"), enhancing=st.booleans()),
    min_size=1,
    max_size=40,
)


UNEVEN = [SplitCase("a", "a", False), SplitCase("d", "d", True)] + [
    SplitCase(f"{patient}{time:02d}", patient, time % 2 == 0) for patient in "bc" for time in range(12)
]


@settings(deadline=None)
@example(UNEVEN, 4, 0)
@given(cases, st.integers(2, 5), st.integers(0, 99))
def test_each_case_is_validated_once_and_no_patient_is_on_both_sides(cases, n_folds, seed):
    if len({case.patient for case in cases}) < n_folds:
        with pytest.raises(InputError, match="too few"):
            make_folds(cases, n_folds, seed=seed)
        return
    folds = make_folds(cases, n_folds, seed=seed)
    assert len(folds) == n_folds
    assert sorted(case.case_id for fold in folds for case in fold.val) == sorted(case.case_id for case in cases)
    for fold in folds:
        assert fold.train and fold.val
        assert len(fold.train) + len(fold.val) == len(cases)
        assert not {case.patient for case in fold.train} & {case.patient for case in fold.val}


def test_enhancing_tumour_is_spread_evenly():
    folds = make_folds(cohort(100, every_et=5), 5)
    assert [len(fold.val) for fold in folds] == [20] * 5
    assert [sum(case.enhancing for case in fold.val) for fold in folds] == [4] * 5


def test_a_seed_gives_the_same_folds_whatever_the_order():
    once, again = make_folds(cohort(20), 5), make_folds(cohort(20)[::-1], 5)
    assert once == again
    assert once != make_folds(cohort(20), 5, seed=1)


@pytest.fixture
def raw(nnunet_folders):
    """A dataset that nnU-Net's own script could have made: two time points a patient, no conversion.json."""
    labels = nnunet_folders / "nnUNet_raw" / "Dataset137_BraTS" / "labelsTr"
    labels.mkdir(parents=True)
    for patient in range(6):
        for time in range(2):
            values = np.full((2, 2, 2), 3 if patient % 2 else 1, dtype=np.uint8)
            sitk.WriteImage(sitk.GetImageFromArray(values), str(labels / f"BraTS-GLI-{patient:05d}-10{time}.nii.gz"))
    return labels.parent


def test_the_file_is_where_nnunet_reads_it(raw, nnunet_folders, capsys):
    preprocessed = nnunet_folders / "nnUNet_preprocessed" / raw.name
    preprocessed.mkdir()
    assert main(["splits", "-d", "137", "--folds", "3"]) == 0
    written = [json.loads((folder / "splits_final.json").read_text()) for folder in (raw, preprocessed)]
    assert written[0] == written[1] and len(written[0]) == 3
    for fold in written[0]:
        assert sorted(fold) == ["train", "val"] and (len(fold["train"]), len(fold["val"])) == (8, 4)
        assert len({case[:15] for case in fold["val"]}) == 2  # both time points of two patients
    table = capsys.readouterr().out
    assert "fold" in table and str(raw / "splits_final.json") in table


def test_a_hold_out_is_one_split(raw):
    _, folds = write_splits(137, holdout=0.33)
    assert len(folds) == 1
    assert len(folds[0].val) == 4


def test_an_existing_split_stays_unless_told(raw):
    write_splits(137, folds=3)
    with pytest.raises(InputError, match="--overwrite"):
        write_splits(137, folds=2)
    assert len(json.loads((raw / "splits_final.json").read_text())) == 3
    write_splits(137, folds=2, overwrite=True)
    assert len(json.loads((raw / "splits_final.json").read_text())) == 2


def test_bad_requests_are_named(raw):
    for options, message in [
        ({"folds": 7}, "6 patients are too few for 7 folds"),
        ({"folds": 1}, "folds must be a whole number"),
        ({"holdout": 0.6}, "share to hold out"),
        ({"holdout": 0.0}, "share to hold out"),
        ({"holdout": 0.4}, "one n-th"),
        ({"seed": -1}, "the seed must be"),
    ]:
        with pytest.raises(InputError, match=message):
            write_splits(137, **options)
    with pytest.raises(InputError, match="no dataset with ID 138"):
        write_splits(138)
