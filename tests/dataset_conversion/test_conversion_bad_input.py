import gzip
import io
import json
import logging
import os
import resource
import shutil
import signal
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import MODALITIES, SHAPE, make_case, replace_one, shear_sform

from dataset_conversion import convert
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.images import write_labels
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.cli import main


def unlink(case, file):
    (case / f"{case.name}_{file}.nii.gz").unlink()


def truncate(case, file):
    path = case / f"{case.name}_{file}.nii.gz"
    path.write_bytes(path.read_bytes()[:-40])


def with_one_voxel(value):
    values = np.ones(SHAPE, np.float32)
    values[2, 3, 4] = value
    return values


def patch_header(case, file, offset, content):
    path = case / f"{case.name}_{file}.nii.gz"
    header = bytearray(gzip.decompress(path.read_bytes()))
    header[offset : offset + len(content)] = content
    path.write_bytes(gzip.compress(header))


def rezip_half(case, file):
    path = case / f"{case.name}_{file}.nii.gz"
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[: len(content) // 2]))


def overwrite(case, file, content):
    (case / f"{case.name}_{file}.nii.gz").write_bytes(content)


def nibabel_like(case, file, shape):
    """Write a plain NIfTI-1 file of any shape, which SimpleITK would not."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, len(shape), *shape, *[1] * (7 - len(shape)))
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, *[1.0] * 8)
    struct.pack_into("<f", header, 108, 352)
    header[344:348] = b"n+1\0"
    overwrite(case, file, gzip.compress(bytes(header) + b"\1\0" * int(np.prod(shape))))


def rename_case(case, case_id):
    for path in list(case.iterdir()):
        path.rename(case / path.name.replace(case.name, case_id))


def copy_and_change(case):
    copy = case.parent / "copy" / case.name
    shutil.copytree(case, copy)
    replace_one(copy, "t1", np.ones(SHAPE, np.int16))


def capital_twin(case, file):
    shutil.copyfile(case / f"{case.name}_{file}.nii.gz", case / f"{case.name}_{file.upper()}.nii.gz")
    replace_one(case, file, np.zeros(SHAPE, np.uint8))


def corrected_and_unpacked(case, file):
    packed = case / f"{case.name}_{file}.nii.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    replace_one(case, file, np.zeros(SHAPE, np.uint8))


def zip_file(case, file):
    path = case / f"{case.name}_{file}.nii.gz"
    content = path.read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(path.name, content)


def tar_file(case, file):
    path = case / f"{case.name}_{file}.nii.gz"
    content = path.read_bytes()
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(path.name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))


def other_format(case, file, ending):
    path = case / f"{case.name}_{file}.nii.gz"
    other = case / f"image.{ending}"
    sitk.WriteImage(sitk.ReadImage(str(path)), str(other))
    other.replace(path)


LFS_POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32\nsize 12345\n"
)

BAD_CASES = {
    "missing modality": (lambda c: unlink(c, "t2"), "_t2.nii.gz: missing"),
    "missing segmentation": (lambda c: unlink(c, "seg"), "_seg.nii.gz: missing"),
    "unknown label": (lambda c: replace_one(c, "seg", np.full(SHAPE, 3, np.uint8)), "_seg.nii.gz: label values 3 are not"),
    "fractional label": (lambda c: replace_one(c, "seg", np.full(SHAPE, 0.5, np.float32)), "_seg.nii.gz: label values are not whole"),
    "other shape": (lambda c: replace_one(c, "t1ce", np.ones((6, 7, 9), np.int16)), "_t1ce.nii.gz: size (9, 7, 6) instead of (8, 7, 6)"),
    "other origin": (lambda c: replace_one(c, "flair", origin=(0, -239, 0.5)), "_flair.nii.gz: origin"),
    "other spacing": (lambda c: replace_one(c, "seg", spacing=(1, 1, 1.2)), "_seg.nii.gz: spacing"),
    "four dimensions": (lambda c: replace_one(c, "t1", np.ones((2, *SHAPE), np.int16)), "_t1.nii.gz: has 4 dimensions"),
    "truncated gzip": (lambda c: truncate(c, "t1"), "_t1.nii.gz: damaged"),
    "truncated label map": (lambda c: truncate(c, "seg"), "_seg.nii.gz: damaged"),
    "not gzip": (lambda c: overwrite(c, "t1", b"hello"), "_t1.nii.gz: is not a NIfTI image"),
    "empty file": (lambda c: overwrite(c, "t1", b""), "_t1.nii.gz: is empty; copy or download it again"),
    "gzip of something else": (lambda c: overwrite(c, "t1", gzip.compress(b"hello")), "_t1.nii.gz: is not a NIfTI image"),
    "DICOM": (lambda c: overwrite(c, "t1", bytes(128) + b"DICM" + bytes(90)), "_t1.nii.gz: is a DICOM file, not a NIfTI"),
    "zip archive": (lambda c: zip_file(c, "t1"), "_t1.nii.gz: is a zip archive, not a NIfTI image; unpack it with unzip"),
    "tar archive": (lambda c: tar_file(c, "t1"), "_t1.nii.gz: is a tar archive, not a NIfTI image; unpack it with tar -xf"),
    "MetaImage": (lambda c: other_format(c, "t1", "mha"), "_t1.nii.gz: is a MetaImage, not a NIfTI image; convert it with"),
    "NRRD": (lambda c: other_format(c, "t1", "nrrd"), "_t1.nii.gz: is an NRRD image, not a NIfTI image; convert it with"),
    "web page": (lambda c: overwrite(c, "t1", b"<!DOCTYPE html><html>" * 40), "_t1.nii.gz: is a web page"),
    "Git LFS pointer": (lambda c: overwrite(c, "t1", LFS_POINTER), "_t1.nii.gz: is a pointer of Git LFS"),
    "sheared sform": (lambda c: shear_sform(c / f"{c.name}_t1.nii.gz", 0.01), "_t1.nii.gz: its orientation matrix (sform) is not"),
    "cut short and zipped again": (lambda c: rezip_half(c, "t1"), "bytes are there"),
    "one voxel not a number": (lambda c: replace_one(c, "t1", with_one_voxel(np.nan)), "_t1.nii.gz: it holds NaN"),
    "infinite labels": (lambda c: replace_one(c, "seg", np.full(SHAPE, np.inf, np.float32)), "_seg.nii.gz: it holds NaN or infinite"),
    "damaged header": (lambda c: patch_header(c, "t1", 108, struct.pack("<f", np.nan)), "_t1.nii.gz: its header is damaged"),
    "three values a voxel": (lambda c: replace_one(c, "t1", sitk.Compose([sitk.Image(8, 7, 6, sitk.sitkInt16)] * 3)), "_t1.nii.gz: has 3 values a voxel"),
    "zero everywhere": (lambda c: replace_one(c, "t1", np.zeros(SHAPE, np.int16)), "_t1.nii.gz: T1 is zero everywhere"),
    "five dimensions": (lambda c: nibabel_like(c, "t1", (8, 7, 6, 2, 2)), "_t1.nii.gz: "),
    "a folder named like an image": (lambda c: (unlink(c, "t1"), (c / f"{c.name}_t1.nii.gz").mkdir()), "_t1.nii.gz: is a folder"),
    "a link in a circle": (lambda c: (unlink(c, "t1"), (c / f"{c.name}_t1.nii.gz").symlink_to(f"{c.name}_t1.nii.gz")), "_t1.nii.gz: cannot be read"),
    "a link to nothing": (lambda c: (unlink(c, "t1"), (c / f"{c.name}_t1.nii.gz").symlink_to("gone")), "_t1.nii.gz: cannot be read"),
    "id with a backslash": (lambda c: rename_case(c, f"{c.name}\\x"), "rename"),
    "id with a line break": (lambda c: rename_case(c, f"{c.name}\nx"), "rename"),
    "id with a leading dash": (lambda c: rename_case(c, f"-{c.name}"), "starts with -"),
    "id too long": (lambda c: rename_case(c, c.name + "x" * 220), "bytes"),
    "found twice": (copy_and_change, "are both T1 of case BraTS2021_00003 and differ: keep the right one"),
    "a second segmentation": (lambda c: capital_twin(c, "seg"), "_seg.nii.gz are both the segmentation of case"),
    "a corrected segmentation, unpacked": (lambda c: corrected_and_unpacked(c, "seg"), "_seg.nii are both the segmentation"),
    "several missing": (lambda c: (unlink(c, "t1"), unlink(c, "t2")), "BraTS2021_00003 lacks T1 (BraTS2021_00003_t1.nii.gz), T2 ("),
    "four-dimensional label map": (lambda c: replace_one(c, "seg", np.ones((2, *SHAPE), np.uint8)), "_seg.nii.gz: has 4 dimensions"),
    "a pipe named like an image": (lambda c: (unlink(c, "t1"), os.mkfifo(c / f"{c.name}_t1.nii.gz")), "_t1.nii.gz: is not a file"),
    "complex image": (lambda c: replace_one(c, "t1", np.ones(SHAPE, np.complex64)), "_t1.nii.gz: its voxels are complex"),
    "complex label map": (lambda c: replace_one(c, "seg", np.ones(SHAPE, np.complex64)), "_seg.nii.gz: its voxels are complex"),
    "bits that do not fit the type": (lambda c: (replace_one(c, "t1", np.ones(SHAPE, np.float32)), patch_header(c, "t1", 72, struct.pack("<h", 16))), "_t1.nii.gz: its header is damaged"),
    "a scale that makes infinite": (lambda c: (replace_one(c, "t1", np.full(SHAPE, 1e30, np.float32)), patch_header(c, "t1", 112, struct.pack("<f", 1e38))), "_t1.nii.gz: T1 has infinite values"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_CASES)
def test_a_bad_case_ends_in_one_line_and_nothing_written(cohort, raw, capsys, kind, bad_input):
    spoil, message = BAD_CASES[kind]
    spoil(cohort / "BraTS2021_00003")
    assert main(["convert", str(cohort), "-d", "137", "--edition", "2021"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1 and message in lines[0] and "BraTS2021_00003" in lines[0]
    bad_input("convert", kind, lines[0])
    assert list(raw.iterdir()) == []


@pytest.mark.parametrize("kind", BAD_CASES)
def test_the_others_convert_on_request(cohort, raw, kind):
    BAD_CASES[kind][0](cohort / "BraTS2021_00003")
    dataset = convert([cohort], 137, edition="2021", skip_invalid=True)
    (skipped,) = json.loads((dataset / "conversion.json").read_text())["skipped"].values()
    assert BAD_CASES[kind][1] in "".join(skipped)
    assert [p.name for p in (dataset / "labelsTr").iterdir()] == ["BraTS2021_00000.nii.gz"]
    assert json.loads((dataset / "dataset.json").read_text())["numTraining"] == 1


def test_a_segmentation_without_images_is_one_line(cohort, raw, capsys):
    for modality in MODALITIES:
        unlink(cohort / "BraTS2021_00003", modality)
    for arguments in (["-d", "137"], ["--check"]):
        assert main(["convert", str(cohort), *arguments]) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "BraTS2021_00003" in line]
        assert all(f"{name} (BraTS2021_00003_{name.lower()}.nii.gz)" in line for name in ("T1", "T1ce", "T2", "FLAIR"))
    convert([cohort], 137, skip_invalid=True)


def test_with_skip_invalid_an_unreadable_file_costs_its_case_alone(cohort, raw):
    path = cohort / "BraTS2021_00003" / "BraTS2021_00003_t1.nii.gz"
    path.unlink()
    path.symlink_to(path.name)
    dataset = convert([cohort], 137, skip_invalid=True, validate=False)
    assert [file.name for file in (dataset / "labelsTr").iterdir()] == ["BraTS2021_00000.nii.gz"]


def test_an_edition_that_the_ids_contradict_is_doubted(cohort, raw, caplog, tmp_path):
    """Its labels mean other things, so a wrong --edition exchanges tissues without a trace."""
    replace_one(cohort / "BraTS2021_00000", "seg", np.zeros(SHAPE, np.uint8))
    replace_one(cohort / "BraTS2021_00003", "seg", np.full(SHAPE, 2, np.uint8))
    for case in list(cohort.iterdir()):
        for file, suffix in zip((*MODALITIES, "seg"), ("-t1n", "-t1c", "-t2w", "-t2f", "-seg"), strict=True):
            (case / f"{case.name}_{file}.nii.gz").rename(case / f"BraTS-GLI-{case.name[-5:]}-000{suffix}.nii.gz")
    caplog.set_level(logging.INFO, LOG.name)
    convert([cohort], 137, edition="2024-ped")
    assert "warning: BraTS-GLI-00000-000 looks like BraTS 2023 GLI" in caplog.text
    caplog.clear()
    convert([cohort], 138, edition="2023-gli")
    assert "read as BraTS 2023 GLI" in caplog.text and "warning" not in caplog.text


def test_every_problem_is_listed_in_one_run(cohort, raw, capsys):
    unlink(cohort / "BraTS2021_00000", "t2")
    truncate(cohort / "BraTS2021_00003", "t1")
    replace_one(cohort / "BraTS2021_00003", "seg", np.full(SHAPE, 3, np.uint8))
    assert main(["convert", str(cohort), "-d", "137"]) == 2
    assert capsys.readouterr().err.count("error:") == 3


def test_bad_requests_are_named(cohort, raw, tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    make_case(tmp_path / "val", "BraTS2021_00007", labelled=False)
    requests = [
        ([empty], 137, {}, "empty: no BraTS case here"),
        ([cohort, empty], 137, {"edition": "2021"}, "empty: no BraTS 2021 case here"),
        ([tmp_path / "nowhere"], 137, {}, "nowhere: no such folder"),
        ([tmp_path / "val"], 137, {}, "nothing to train on"),
        ([], 137, {}, "no input folder"),
        ([cohort], 0, {}, "dataset ID must be a whole number from 1 to 999"),
        ([cohort], 137, {"name": "x" * 300}, "name may have letters"),
        ([cohort], 137, {"name": "a/b"}, "name may have letters"),
        ([cohort], 137, {"edition": "1999"}, "no edition '1999'"),
    ]
    for inputs, dataset_id, options, message in requests:
        with pytest.raises(InputError, match=message):
            convert(inputs, dataset_id, **options)
    assert list(raw.iterdir()) == []
    monkeypatch.delenv("nnUNet_raw")
    with pytest.raises(InputError, match="export nnUNet_raw="):
        convert([cohort], 137)


def test_an_id_that_is_taken_is_refused(cohort, raw):
    convert([cohort], 137)
    before = {p: p.stat().st_mtime_ns for p in raw.rglob("*")}
    with pytest.raises(InputError, match=r"there with another name; .* and -n BraTS2021"):
        convert([cohort], 137, "Other")
    assert {p: p.stat().st_mtime_ns for p in raw.rglob("*")} == before


@pytest.mark.parametrize("kind", ["preprocessed", "results"])
def test_the_id_must_be_free_in_all_of_nnunet_s_folders(cohort, raw, kind):
    """nnU-Net stops at an ID that has two names."""
    (raw.parent / f"nnUNet_{kind}" / "Dataset137_Other").mkdir()
    with pytest.raises(InputError, match=r"Dataset137_Other: dataset 137 is there with another name; .* -n Other"):
        convert([cohort], 137)
    convert([cohort], 137, "Other")


def test_the_file_that_differs_is_blamed_whichever_it_is(cohort, raw, capsys):
    replace_one(cohort / "BraTS2021_00003", "t1", origin=(0, -239, 0.5))  # the first file of all
    assert main(["convert", str(cohort), "-d", "137"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1 and "_t1.nii.gz: origin" in lines[0]


def test_a_disk_that_refuses_is_no_traceback(cohort, raw, monkeypatch, capsys):
    monkeypatch.setenv("nnUNet_raw", str(cohort / "BraTS2021_00000" / "BraTS2021_00000_t1.nii.gz"))
    assert main(["convert", str(cohort), "-d", "137"]) == 2
    assert "Not a directory" in capsys.readouterr().err


def test_a_full_disk_is_seen_although_simpleitk_does_not_say_so(tmp_path):
    image = sitk.Image(40, 40, 40, sitk.sitkUInt8)
    labels = np.random.default_rng(0).integers(0, 4, (40, 40, 40), dtype=np.uint8)
    child = os.fork()
    if child == 0:  # the limit stays in a process of its own
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
        try:
            write_labels(labels, image, tmp_path / "labels.nii.gz")
        except OSError as error:
            os._exit(3 if "written whole" in str(error) else 4)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_not_utf8_is_named(cohort, raw):
    os.rename(os.fsencode(cohort), os.fsencode(cohort.parent) + b"/in\xe9")  # noqa: PTH104 (a name that Path cannot show)
    with pytest.raises(InputError, match="not UTF-8"):
        convert([Path(os.fsdecode(os.fsencode(cohort.parent) + b"/in\xe9"))], 137)


def test_a_failing_write_leaves_no_dataset(cohort, raw, monkeypatch):
    def full(*_, **__):
        msg = "No space left on device"
        raise OSError(28, msg)

    monkeypatch.setattr("dataset_conversion.conversion.write_dataset_json", full)
    with pytest.raises(OSError, match="No space left"):
        convert([cohort], 137)
    assert list(raw.glob("Dataset*")) == []  # what is finished waits under a hidden name


def test_odd_but_harmless_names_are_converted(tmp_path, raw):
    for case in ("patient 7", "naïve-ß_日本"):
        make_case(tmp_path / "a folder", case)
    dataset = convert([tmp_path / "a folder"], 137, edition="2021")
    assert sorted(p.name for p in (dataset / "labelsTr").iterdir()) == ["naïve-ß_日本.nii.gz", "patient 7.nii.gz"]


def test_labels_are_checked_without_validation_too(cohort, raw, capsys):
    overwrite(cohort / "BraTS2021_00000", "t1", b"hello")  # not opened
    replace_one(cohort / "BraTS2021_00003", "seg", np.full(SHAPE, 3, np.uint8))
    assert main(["convert", str(cohort), "-d", "137", "--no-validate"]) == 2
    assert "_seg.nii.gz: label values 3 are not" in capsys.readouterr().err
    assert list(raw.glob("Dataset*")) == []


def test_a_foreign_dataset_is_replaced_only_on_request(cohort, raw):
    foreign = raw / "Dataset137_BraTS2021"
    (foreign / "imagesTr").mkdir(parents=True)
    (foreign / "imagesTr" / "old_0000.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"was not made by resunet-ds convert.*--overwrite"):
        convert([cohort], 137)
    assert [path.name for path in foreign.rglob("*.gz")] == ["old_0000.nii.gz"]
    convert([cohort], 137, overwrite=True)
    assert len(list(foreign.rglob("*.gz"))) == 10
    assert [path.name for path in raw.iterdir()] == [foreign.name]


def as_nobody(work) -> int:
    """Run something in a child without root's rights; return its exit code."""
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setresuid(65534, 65534, 65534)
            os._exit(work())
        except BaseException:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_target_that_cannot_be_written_is_no_traceback(cohort, raw):
    for folder in (raw, *list(raw.parents)[:3]):
        folder.chmod(0o555)
    try:
        assert as_nobody(lambda: main(["convert", str(cohort), "-d", "137"])) == 2
    finally:
        for folder in (raw, *list(raw.parents)[:3]):
            folder.chmod(0o755)
    assert list(raw.iterdir()) == []


def test_a_full_disk_ends_without_a_dataset(tmp_path, raw):
    case = make_case(tmp_path / "train", "BraTS2021_00003")
    labels = np.random.default_rng(0).choice(np.array([0, 1, 2, 4], np.uint8), (40, 40, 40))
    for modality in ("t1", "t1ce", "t2", "flair"):
        replace_one(case, modality, np.ones((40, 40, 40), np.uint8))
    replace_one(case, "seg", labels)

    def convert_with_little_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
        return main(["convert", str(case), "-d", "137"])

    child = os.fork()
    if child == 0:
        os._exit(convert_with_little_room())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    assert list(raw.glob("Dataset*")) == []
