"""Which images and label maps a report takes, and by what names."""

import json
import shutil

import SimpleITK as sitk
from models import predict
from reports import CASES, make_cohort
from test_report import data_of, run

from nnunet_resunet_ds.report.remarks import read_prediction_notes


def modalities_of(page):
    return set(data_of(page, "pictures-0")["images"])


def test_sequences_that_no_case_has_are_left_out(tmp_path):
    folder, page = make_cohort(tmp_path), tmp_path / "report.html"
    for case in CASES:
        for name in ("t1", "t2"):
            (folder / "raw" / case / f"{case}_{name}.nii.gz").unlink()
    assert run("-i", folder / "raw", "-pred", folder / "labels", "-o", page) == 0
    assert modalities_of(page) == {"T1ce", "FLAIR"}


def test_pictures_have_the_names_that_the_dataset_has(tmp_path):
    folder, page = make_cohort(tmp_path), tmp_path / "report.html"
    images = folder / "Dataset001_X" / "imagesTs"
    images.mkdir(parents=True)
    for case in CASES:
        for number, name in enumerate(("flair", "t1ce")):
            shutil.copy(folder / "raw" / case / f"{case}_{name}.nii.gz", images / f"{case}_{number:04d}.nii.gz")
    (images.parent / "dataset.json").write_text(json.dumps({"channel_names": {"0": "FLAIR", "1": "T1Gd"}}))
    assert run("-i", images, "-pred", folder / "labels", "-o", page) == 0
    assert modalities_of(page) == {"FLAIR", "T1Gd"}


def test_label_maps_that_run_json_does_not_list_are_not_trusted(tmp_path, capsys):
    folder, page = make_cohort(tmp_path), tmp_path / "report.html"
    shutil.copy(folder / "labels" / f"{CASES[0]}.nii.gz", folder / "labels" / "other.nii.gz")
    assert run("-i", folder / "raw", "-pred", folder / "labels", "-o", page) == 2
    assert f"label values of nnU-Net of {CASES[0]}.nii.gz, and nothing of other.nii.gz" in capsys.readouterr().err


def test_one_image_stored_along_other_axes_is_brought_to_the_label_map(tmp_path):
    cohort = make_cohort(tmp_path / "a", CASES[:1])
    pictures = []
    for orientation in ("LPS", "RAS"):
        path = cohort / "raw" / CASES[0] / f"{CASES[0]}_t1ce.nii.gz"
        sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(str(path)), orientation), str(path))
        assert run("-i", cohort / "raw", "-pred", cohort / "labels", "-o", tmp_path / "report.html") == 0
        pictures.append(data_of(tmp_path / "report.html", "pictures-0"))
    assert pictures[0] == pictures[1]


def test_each_change_of_a_prediction_is_listed_once(cohort, model, tmp_path):
    """It stands in run.json, and in the table next to it."""
    assert predict(cohort, tmp_path / "out", model, "--wt-component-voxels", "500") == 0
    found = read_prediction_notes(tmp_path / "out").changes
    assert found
    for lines in found.values():
        steps = [line.partition(":")[0] for line in lines]
        assert len(steps) == len(set(steps))
