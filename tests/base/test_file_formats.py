"""What is said where there are files, and no case by the names that were expected."""

import tarfile
import zipfile

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import CASES
from models import predict

from nnunet_resunet_ds.base.file_formats import FORMATS, SIGN_BYTES, format_of_bytes, found_instead
from nnunet_resunet_ds.cli import main

IMAGE = sitk.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))


def dicom(folder):
    """Slices without an ending, as scanners export them."""
    for number in range(3):
        sitk.WriteImage(IMAGE[:, :, number], str(folder / f"{number}.dcm"))
        (folder / f"{number}.dcm").rename(folder / f"IM{number:04d}")


def zipped(folder):
    with zipfile.ZipFile(folder / "BraTS2021_Training_Data", "w") as archive:  # the ending was lost
        archive.writestr("a.nii", b"a")


def tarred(folder):
    (folder / "a.nii").write_bytes(b"a")
    with tarfile.open(folder / "BraTS2021_00495.tar", "w") as archive:
        archive.add(folder / "a.nii")
    (folder / "a.nii").unlink()


KINDS = {
    "DICOM": (dicom, "found 3 DICOM files (such as", "dcm2niix -z y -o OUT FOLDER"),
    "MetaImage": (lambda f: sitk.WriteImage(IMAGE, str(f / "x.mha")), "found a MetaImage (", "import SimpleITK"),
    "NRRD": (lambda f: sitk.WriteImage(IMAGE, str(f / "x.nrrd")), "found an NRRD image (", "import SimpleITK"),
    "zip": (zipped, "found a zip archive (", "unzip"),
    "tar": (tarred, "found a tar archive (", "tar -xf"),
    "NIfTI": (lambda f: sitk.WriteImage(IMAGE, str(f / "x.nii.gz")), "a NIfTI image (", "--edition-file"),
}

ARCHIVE = "a zip archive for a folder"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("edition", ["auto", "2021"])
def test_a_folder_without_cases(tmp_path, raw, capsys, kind, edition, bad_input):
    make, found, advice = KINDS[kind]
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    make(tmp_path / "in" / "deeper")
    assert main(["convert", str(tmp_path / "in"), "-d", "137", "--edition", edition]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "in: no BraTS" in line and found in line and advice in line
    if edition == "auto":
        bad_input("convert", f"no case, but {kind}", line)


def test_an_archive_in_place_of_a_folder(tmp_path, raw, capsys, bad_input):
    zipped(tmp_path)
    (tmp_path / "BraTS2021_Training_Data").rename(tmp_path / "train.zip")
    assert main(["convert", str(tmp_path / "train.zip"), "-d", "137"]) == 2
    line = capsys.readouterr().err
    assert "train.zip: is a zip archive, not a folder of NIfTI images; unpack it with unzip" in line
    bad_input("convert", ARCHIVE, line)
    (tmp_path / "x.nii.gz").write_bytes(b"x")
    assert main(["convert", str(tmp_path / "x.nii.gz"), "-d", "137"]) == 2
    assert "x.nii.gz: is a file; give the folder that it lies in" in capsys.readouterr().err


def test_predict_says_it_too(tmp_path, model, capsys):
    (tmp_path / "scans").mkdir()
    dicom(tmp_path / "scans")
    assert predict(tmp_path / "scans", tmp_path / "out", model) == 2
    assert "found 3 DICOM files" in capsys.readouterr().err
    sitk.WriteImage(IMAGE, str(tmp_path / "scans" / f"{CASES[0]}_seg.nii.gz"))
    assert predict(tmp_path / "scans", tmp_path / "out", model) == 2
    error = capsys.readouterr().err
    assert "no images here" in error and "found 3 DICOM files" in error and "NIfTI image (" not in error


def test_what_tells_nothing_is_not_guessed(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / ".hidden.zip").write_bytes(b"")
    assert found_instead(tmp_path) == ""
    assert found_instead(tmp_path / "nowhere") == ""


def test_the_signs_are_those_of_files_that_others_write(tmp_path):
    for ending, name in (("mha", "a MetaImage"), ("nrrd", "an NRRD image"), ("dcm", "a DICOM file")):
        path = tmp_path / f"x.{ending}"
        sitk.WriteImage(IMAGE[:, :, 0] if ending == "dcm" else IMAGE, str(path))
        assert format_of_bytes(path.read_bytes()[:SIGN_BYTES]).name == name
    assert format_of_bytes(b"") is None and format_of_bytes(b"hello") is None
    assert len({each.name for each in FORMATS}) == len(FORMATS)
