import gzip
import hashlib
import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import MODALITIES, make_case, values_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nnunetv2.dataset_conversion.Dataset137_BraTS21 import (
    convert_labels_back_to_BraTS,
    copy_BraTS_segmentation_and_convert_labels_to_nnUNet,
)
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from dataset_conversion import EDITIONS, convert
from dataset_conversion.labels import nnunet_labels
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.regions import REGIONS, Region
from nnunet_resunet_ds.cli import main


def test_a_cohort_becomes_a_dataset_that_nnunet_accepts(cohort, raw, tmp_path, capsys):
    make_case(tmp_path / "val", "BraTS2021_00007", labelled=False)
    assert main(["convert", str(cohort), str(tmp_path / "val"), "-d", "137"]) == 0
    dataset = raw / "Dataset137_BraTS2021"
    assert [p.name for p in raw.iterdir()] == [dataset.name]
    assert sorted(p.name for p in (dataset / "imagesTr").iterdir()) == [
        f"BraTS2021_{number:05d}_{channel:04d}.nii.gz" for number in (0, 3) for channel in range(4)
    ]
    assert len(list((dataset / "imagesTs").iterdir())) == 4
    assert sorted(p.name for p in (dataset / "labelsTr").iterdir()) == [
        "BraTS2021_00000.nii.gz",
        "BraTS2021_00003.nii.gz",
    ]
    for channel, modality in enumerate(MODALITIES):
        source = cohort / "BraTS2021_00003" / f"BraTS2021_00003_{modality}.nii.gz"
        converted = dataset / "imagesTr" / f"BraTS2021_00003_{channel:04d}.nii.gz"
        assert converted.samefile(source)
    verify_dataset_integrity(str(dataset), num_processes=1)
    printed = capsys.readouterr()
    assert "3 cases, read as BraTS 2021: told from the case ids, all 3 are like BraTS2021_00000" in printed.err
    printed = printed.out
    assert "next: nnUNetv2_plan_and_preprocess -d 137" in printed


def test_labels_equal_nnunet_s_own_conversion(cohort, raw, tmp_path):
    dataset = convert([cohort], 137)
    source = cohort / "BraTS2021_00000" / "BraTS2021_00000_seg.nii.gz"
    copy_BraTS_segmentation_and_convert_labels_to_nnUNet(str(source), str(tmp_path / "theirs.nii.gz"))
    theirs, ours = (
        sitk.ReadImage(str(p)) for p in (tmp_path / "theirs.nii.gz", dataset / "labelsTr" / "BraTS2021_00000.nii.gz")
    )
    np.testing.assert_array_equal(sitk.GetArrayFromImage(theirs), sitk.GetArrayFromImage(ours))
    assert (ours.GetOrigin(), ours.GetSpacing(), ours.GetDirection()) == (
        theirs.GetOrigin(),
        theirs.GetSpacing(),
        theirs.GetDirection(),
    )
    assert ours.GetPixelID() == sitk.sitkUInt8


@given(hnp.arrays(np.int16, (3, 4, 5), elements=st.sampled_from([0, 1, 2, 4])))
def test_labels_come_back_by_nnunet_s_own_inverse(values):
    np.testing.assert_array_equal(convert_labels_back_to_BraTS(nnunet_labels(values, EDITIONS["2021"].tissues)), values)


def test_dataset_json_has_the_regions(cohort, raw):
    content = json.loads((convert([cohort], 137, "Mine") / "dataset.json").read_text())
    assert content["channel_names"] == {"0": "T1", "1": "T1ce", "2": "T2", "3": "FLAIR"}
    assert content["labels"] == {
        "background": 0,
        "whole tumor": [1, 2, 3],
        "tumor core": [2, 3],
        "enhancing tumor": [3],
    }  # D5
    assert content["regions_class_order"] == [1, 2, 3]
    assert content["numTraining"] == 2
    manager = LabelManager(content["labels"], content["regions_class_order"])
    assert manager.foreground_regions == [(1, 2, 3), (2, 3), (3,)]


@pytest.mark.parametrize(("region", "raw_labels"), list(zip(REGIONS, [(1, 2, 4), (1, 4), (4,)], strict=True)))
def test_regions_are_brats_own(region: Region, raw_labels):
    """EDITIONS of 2017 to 2022: WT = 1, 2, 4; TC = 1, 4; ET = 4."""
    raw_values = np.array([0, 1, 2, 4])
    mask = region.mask(nnunet_labels(raw_values, EDITIONS["2021"].tissues))
    assert set(raw_values[mask]) == set(raw_labels)


def test_the_manifest_names_the_sources(cohort, raw):
    content = json.loads((convert([cohort], 137) / "conversion.json").read_text())
    assert content["edition"] == "2021"
    source = content["cases"]["BraTS2021_00003"]["images"]["T2"]
    file = cohort / "BraTS2021_00003" / "BraTS2021_00003_t2.nii.gz"
    content_of_file = file.read_bytes()
    digest = hashlib.sha256(content_of_file).hexdigest()
    assert source == {
        "file": str(file),
        "bytes": len(content_of_file),
        "modified_ns": file.stat().st_mtime_ns,
        "sha256": digest,
    }
    raw_values = values_of(cohort / "BraTS2021_00003" / "BraTS2021_00003_seg.nii.gz")
    expected = {"NCR": (raw_values == 1).sum(), "ED": (raw_values == 2).sum(), "ET": (raw_values == 4).sum()}
    assert content["cases"]["BraTS2021_00003"]["voxels"] == expected


def test_copies_on_request(cohort, raw):
    dataset = convert([cohort], 137, link_mode="copy")
    source = cohort / "BraTS2021_00000" / "BraTS2021_00000_t1.nii.gz"
    converted = dataset / "imagesTr" / "BraTS2021_00000_0000.nii.gz"
    assert not converted.samefile(source) and converted.read_bytes() == source.read_bytes()


def test_the_edition_is_told_from_the_case_names(tmp_path, raw):
    make_case(tmp_path / "2020", "BraTS20_Training_001")
    assert convert([tmp_path / "2020"], 20).name == "Dataset020_BraTS2020"
    make_case(tmp_path / "other", "patient7")
    with pytest.raises(InputError, match=r"patient7.*--edition"):
        convert([tmp_path / "other"], 21)
    assert convert([tmp_path / "other"], 21, edition="2021").name == "Dataset021_BraTS2021"


def test_overlapping_inputs_are_one(cohort, raw):
    dataset = convert([cohort, cohort, cohort / "BraTS2021_00003"], 137)
    assert len(list((dataset / "labelsTr").iterdir())) == 2


def test_linked_case_folders_are_followed_and_loops_are_not(cohort, raw, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    (links / "BraTS2021_00000").symlink_to(cohort / "BraTS2021_00000")
    (links / "back").symlink_to(links)
    assert len(list((convert([links], 137) / "labelsTr").iterdir())) == 1


def test_a_case_belongs_to_the_innermost_input(cohort, raw):
    make_case(cohort / "val", "BraTS2021_00007", labelled=False)
    for inputs in ([cohort, cohort / "val"], [cohort / "val", cohort]):
        dataset = convert(inputs, 137)
        assert len(list((dataset / "imagesTs").iterdir())) == 4
        shutil.rmtree(dataset)


def test_plain_files_are_compressed_and_odd_names_taken(tmp_path, raw):
    """What copies of BraTS 2020 on the web look like."""
    case = make_case(tmp_path / "2020", "BraTS20_Training_355")
    for file in list(case.iterdir()):
        (case / file.name.removesuffix(".gz")).write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()
    original = values_of(case / "BraTS20_Training_355_seg.nii")
    (case / "BraTS20_Training_355_seg.nii").rename(case / "W39_1998.09.19_Segm.nii")
    (case / "BraTS20_Training_355_t1ce.nii").rename(case / "BraTS20_Training_355_T1CE.nii")
    dataset = convert([tmp_path / "2020"], 20)
    images = sorted((dataset / "imagesTr").iterdir())
    assert len(images) == 4 and all(file.read_bytes()[:2] == b"\x1f\x8b" for file in images)
    assert gzip.decompress(images[1].read_bytes()) == (case / "BraTS20_Training_355_T1CE.nii").read_bytes()
    labels = values_of(dataset / "labelsTr" / "BraTS20_Training_355.nii.gz")
    np.testing.assert_array_equal(convert_labels_back_to_BraTS(labels), original)
    repairs = json.loads((dataset / "conversion.json").read_text())["cases"]["BraTS20_Training_355"]["repairs"]
    assert "W39_1998.09.19_Segm.nii was taken for BraTS20_Training_355_seg.nii.gz" in repairs
    assert "BraTS20_Training_355_T1CE.nii was not compressed" in repairs


def test_a_plain_file_under_a_compressed_name_is_compressed(cohort, raw):
    file = cohort / "BraTS2021_00003" / "BraTS2021_00003_t1.nii.gz"
    content = gzip.decompress(file.read_bytes())
    file.write_bytes(content)
    dataset = convert([cohort], 137)
    assert gzip.decompress((dataset / "imagesTr" / "BraTS2021_00003_0000.nii.gz").read_bytes()) == content


def test_of_a_plain_and_a_compressed_copy_the_compressed_is_taken(cohort, raw):
    file = cohort / "BraTS2021_00003" / "BraTS2021_00003_t1.nii.gz"
    file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
    assert convert([cohort], 137).joinpath("imagesTr", "BraTS2021_00003_0000.nii.gz").samefile(file)


def test_compressed_files_under_plain_names_are_read(cohort, raw):
    for file in (cohort / "BraTS2021_00003").iterdir():
        file.rename(file.with_suffix(""))
    assert len(list((convert([cohort], 137) / "labelsTr").iterdir())) == 2


def test_a_folder_without_any_segmentation_is_a_test_set(tmp_path, raw):
    for case in ("BraTS2021_00001", "BraTS2021_00002"):
        make_case(tmp_path / "all" / "train", case)
    make_case(tmp_path / "all" / "val", "BraTS2021_00003", labelled=False)
    dataset = convert([tmp_path / "all"], 137)
    assert len(list((dataset / "labelsTr").iterdir())) == 2
    assert {file.name[:15] for file in (dataset / "imagesTs").iterdir()} == {"BraTS2021_00003"}


def test_nnunet_s_own_folders_below_the_input_are_passed_over(tmp_path, raw):
    make_case(tmp_path / "train", "BraTS2021_00001")
    dataset = convert([tmp_path], 137)
    assert convert([tmp_path], 137) == dataset
    assert len(list((dataset / "labelsTr").iterdir())) == 1


def test_hidden_files_of_other_systems_are_skipped(cohort, raw):
    junk = cohort / "__MACOSX" / "BraTS2021_00000"
    junk.mkdir(parents=True)
    (junk / "._BraTS2021_00000_t1.nii.gz").write_bytes(b"")
    assert len(list((convert([cohort], 137) / "labelsTr").iterdir())) == 2


def test_real_cases_convert_and_come_back(real_cases, raw):
    dataset = convert([real_cases], 137)
    for file in sorted((dataset / "labelsTr").iterdir()):
        case = file.name.removesuffix(".nii.gz")
        original = values_of(real_cases / case / f"{case}_seg.nii.gz")
        np.testing.assert_array_equal(convert_labels_back_to_BraTS(values_of(file)), original)


@pytest.mark.parametrize("command", [["--check"], ["-d", "137"]])
def test_one_patient_under_two_names_is_warned_of(cohort, raw, command, capsys):
    first = "BraTS2021_00000"
    shutil.copytree(cohort / first, cohort / "BraTS2021_00099")
    for file in (cohort / "BraTS2021_00099").iterdir():
        file.rename(file.with_name(file.name.replace(first, "BraTS2021_00099")))
    assert main(["convert", str(cohort), *command]) == 0
    said = capsys.readouterr().out
    assert f"the same images in several cases: {first} and BraTS2021_00099 (T1, T1ce, T2, FLAIR). Keep one" in said
    assert said.count("the same images") == 1


@pytest.mark.parametrize("found_when", [[], ["--no-validate"]], ids=["inspected", "written"])
def test_a_case_that_is_invalid_now_is_not_removed_from_the_dataset_unasked(cohort, raw, capsys, found_when):
    """It may have the last good copy."""
    words = ["convert", str(cohort), "-d", "137", "--copy", *found_when]
    assert main(words) == 0
    case = "BraTS2021_00003"
    segmentation = cohort / case / f"{case}_seg.nii.gz"
    segmentation.write_bytes(segmentation.read_bytes()[:200])
    assert main([*words, "--skip-invalid"]) == 2
    assert f"has {case}, which is invalid now and would be removed there" in capsys.readouterr().err
    label_map = raw / "Dataset137_BraTS2021" / "labelsTr" / f"{case}.nii.gz"
    assert label_map.is_file()
    assert main([*words, "--skip-invalid", "--overwrite"]) == 0
    assert not label_map.is_file()
