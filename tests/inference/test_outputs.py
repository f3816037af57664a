"""What ``-o`` may be: label maps are .nii.gz or .nii, a folder is a folder, and nothing else is made of a name."""

import os

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import CASES, MODALITIES, values_of
from models import predict

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.evaluation.label_maps import find_label_maps

ANOTHER_FORMAT = "output: another format"


@pytest.fixture
def single(cohort, model):
    """Runs ``predict`` on the images of one case."""
    case = cohort / CASES[0]
    files = [word for name in MODALITIES for word in (f"--{name}", str(case / f"{case.name}_{name}.nii.gz"))]
    return lambda output, *flags: main(["predict", *files, "-o", str(output), "-m", str(model), "--no-tta", *flags])


def test_a_single_case_is_written_as_its_name_says(single, tmp_path, capsys):
    for name in ("tumour.nii.gz", "other.nii"):
        assert single(tmp_path / name) == 0
        assert f"wrote {tmp_path / name}; run.json" in capsys.readouterr().out
    np.testing.assert_array_equal(values_of(tmp_path / "tumour.nii.gz"), values_of(tmp_path / "other.nii"))
    assert (tmp_path / "tumour.nii.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert (tmp_path / "other.nii").read_bytes()[:4] == (348).to_bytes(4, "little")
    assert find_label_maps(tmp_path / "other.nii").labels == "nnunet"
    before = (tmp_path / "other.nii").stat().st_mtime_ns
    assert single(tmp_path / "other.nii", "--continue") == 0
    assert (tmp_path / "other.nii").stat().st_mtime_ns == before and "1 was there" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["tumour.mha", "tumour.nrrd", "tumour.NII.GZ", "tumour.png", "tumour.gz", "t.img"])
def test_other_formats_are_refused(single, tmp_path, capsys, name, bad_input):
    assert single(tmp_path / name) == 2
    answer = capsys.readouterr().err
    assert "label maps are written as .nii.gz or .nii" in answer and not (tmp_path / name).exists()
    if name == "tumour.mha":
        bad_input("predict", ANOTHER_FORMAT, answer)


def test_a_folder_is_a_folder(single, tmp_path):
    folder = tmp_path / "labels.nii"
    folder.mkdir()
    assert single(folder) == 0
    assert (folder / f"{CASES[0]}.nii.gz").is_file()


@pytest.mark.parametrize("name", ["labels.nii.gz", "labels.nii", "labels.json", "labels.mha"])
def test_folders_are_not_made_by_the_name_of_a_file(cohort, model, tmp_path, capsys, name):
    predict(cohort, tmp_path / "out", model, "--save-probabilities")
    capsys.readouterr()
    output = str(tmp_path / name)
    for command in (
        ["predict", "-i", str(cohort), "-m", str(model)],
        ["postprocess", "-i", str(tmp_path / "out")],
        ["submission", "-i", str(tmp_path / "out")],
        ["demo"],
    ):
        assert main([*command, "-o", output]) == 2
        error = capsys.readouterr().err
        assert "Traceback" not in error and len(error.splitlines()) == 1 and name in error
    assert not (tmp_path / name).exists()


def test_a_file_is_no_folder(cohort, model, tmp_path, capsys):
    file = tmp_path / "labels"
    file.write_text("")
    assert predict(cohort, file, model) == 2
    assert "is a file; give a folder" in capsys.readouterr().err


def test_an_unpacked_label_map_is_whole_or_not_there(single, tmp_path, monkeypatch):
    """SimpleITK says nothing of a full disk."""
    original = sitk.WriteImage

    def cut_short(image, name, *rest):
        original(image, name, *rest)
        os.truncate(name, 400)

    monkeypatch.setattr(sitk, "WriteImage", cut_short)
    assert single(tmp_path / "tumour.nii") == 2
    assert not (tmp_path / "tumour.nii").exists()
