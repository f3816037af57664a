"""What is put right on the way with a note, and what is only remarked on."""

import gzip
import json
import logging
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import SHAPE, make_case, replace_one, values_of, write
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from dataset_conversion import check, convert
from dataset_conversion.intensity import background_fill, brain_mask, intensity_warnings, same_image_warnings
from nnunet_resunet_ds.base.images import whole_numbers
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.cli import main

CASE = "BraTS2021_00003"


def entry_of(dataset):
    return json.loads((dataset / "conversion.json").read_text())["cases"][CASE]


def with_border(fill, dtype=np.int16):
    values = np.full(SHAPE, fill, dtype)
    values[1:-1, 1:-1, 1:-1] = np.random.default_rng(0).integers(1, 900, tuple(n - 2 for n in SHAPE))
    return values


@pytest.mark.parametrize(("fill", "dtype"), [(-32768, np.int16), (-1, np.float32), (-1000, np.int32)])
def test_a_negative_background_becomes_zero_and_nothing_else_changes(cohort, raw, fill, dtype):
    values = with_border(fill, dtype)
    replace_one(cohort / CASE, "t2", values)
    dataset = convert([cohort], 137)
    written = values_of(dataset / "imagesTr" / f"{CASE}_0002.nii.gz")
    np.testing.assert_array_equal(written, np.where(values == fill, 0, values))
    assert written.dtype == dtype
    assert f"T2 had a background of {fill}, which became 0" in entry_of(dataset)["repairs"]


def test_float_labels_with_whole_values_are_taken_with_a_note(cohort, raw):
    original = values_of(cohort / CASE / f"{CASE}_seg.nii.gz")
    replace_one(cohort / CASE, "seg", original.astype(np.float32))
    dataset = convert([cohort], 137)
    assert f"{CASE}_seg.nii.gz held labels as 32-bit float" in entry_of(dataset)["repairs"]
    assert set(np.unique(values_of(dataset / "labelsTr" / f"{CASE}.nii.gz"))) == {0, 1, 2, 3}


def without_codes(path, *offsets):
    content = bytearray(gzip.decompress(path.read_bytes()))
    for offset in offsets:
        content[offset : offset + 2] = struct.pack("<h", 0)
    path.write_bytes(gzip.compress(content))


def test_labels_that_are_all_but_whole_are_rounded_with_a_note(cohort, raw, caplog):
    caplog.set_level(logging.INFO, LOG.name)
    straight = convert([cohort], 1)
    values = values_of(cohort / CASE / f"{CASE}_seg.nii.gz")
    replace_one(cohort / CASE, "seg", np.where(values == 4, np.float32(3.9999998), values.astype(np.float32)))
    dataset = convert([cohort], 137)
    for file in (straight / "labelsTr").iterdir():
        np.testing.assert_array_equal(values_of(dataset / "labelsTr" / file.name), values_of(file))
    assert f"rounded: label values of {CASE}_seg.nii.gz were up to 2e-07 off" in " ".join(entry_of(dataset)["repairs"])
    assert f"{CASE}_seg.nii.gz: label values were up to 2e-07 off whole numbers" in caplog.text


@given(hnp.arrays(np.int64, (2, 3), elements=st.integers(-5, 300)), st.floats(-9e-4, 9e-4), st.floats(2e-3, 0.998))
def test_what_counts_as_whole(values, little, much):
    np.testing.assert_array_equal(whole_numbers(values + little), values)
    off = values.astype(float)
    off[0, 0] += much
    assert whole_numbers(off) is None
    assert whole_numbers(values) is values
    for impossible in (np.nan, np.inf, 1e30):
        assert whole_numbers(np.full((2, 2), impossible)) is None


@pytest.mark.parametrize("same", [("T1", "T2"), ("T1", "T1ce", "FLAIR"), ()])
def test_only_images_that_are_the_same_everywhere_are_twins(same):
    random = np.random.default_rng(0)
    first = random.integers(0, 99, (7, 8, 9))
    values = {name: random.integers(0, 99, (7, 8, 9)) for name in ("T1", "T1ce", "T2", "FLAIR")}
    values |= dict.fromkeys(same, first)
    files = {name: Path(f"/x/{name}.nii.gz") for name in values}
    found = same_image_warnings(values, files)
    names = f"{', '.join(same[:-1])} and {same[-1]}" if same else ""
    listed = ", ".join(f"{name}.nii.gz" for name in same)
    assert found == ([f"same image twice: {names} are voxel for voxel the same ({listed})"] if same else [])
    changed = first.copy()
    changed[1, 1, 1] += 1  # between the voxels that are compared first
    assert same_image_warnings({"T1": first, "T2": changed}, files) == []


QFORM, SFORM = 252, 254
"""Where the codes stand in a NIfTI-1 header."""


@pytest.mark.parametrize("code", [QFORM, SFORM])
def test_one_of_qform_and_sform_is_enough(cohort, raw, code):
    without_codes(cohort / CASE / f"{CASE}_seg.nii.gz", code)
    assert entry_of(convert([cohort], 137))["repairs"] == []


@pytest.mark.parametrize(("file", "written"), [("seg", "labelsTr/{}.nii.gz"), ("t1", "imagesTr/{}_0000.nii.gz")])
def test_a_file_that_does_not_say_where_it_lies_gets_the_geometry_of_the_others(cohort, raw, file, written):
    without_codes(cohort / CASE / f"{CASE}_{file}.nii.gz", QFORM, SFORM)
    dataset = convert([cohort], 137)
    image = sitk.ReadImage(str(dataset / written.format(CASE)))
    assert image.GetOrigin() == sitk.ReadImage(str(cohort / CASE / f"{CASE}_t2.nii.gz")).GetOrigin()
    assert any("neither qform nor sform" in note for note in entry_of(dataset)["repairs"])


def test_a_spacing_that_is_off_by_a_hair_is_mended(cohort, raw):
    """nnU-Net refuses a case whose files differ by more than 1e-5."""
    replace_one(cohort / CASE, "t2", spacing=(1, 1, 1.0005))
    dataset = convert([cohort], 137)
    (note,) = entry_of(dataset)["repairs"]
    assert note == f"{CASE}_t2.nii.gz had spacing (1, 1, 1.0005); it got the geometry of the other files"
    files = [str(dataset / "imagesTr" / f"{CASE}_{channel:04d}.nii.gz") for channel in range(4)]
    SimpleITKIO().read_images(files)  # raises where spacings differ
    np.testing.assert_array_equal(values_of(files[2]), values_of(cohort / CASE / f"{CASE}_t2.nii.gz"))


def test_the_sentinel_is_background_wherever_it_is(cohort, raw):
    values = np.ones(SHAPE, np.int16)
    values[2, 3, 4] = -32768
    replace_one(cohort / CASE, "t1", values)
    written = values_of(convert([cohort], 137) / "imagesTr" / f"{CASE}_0000.nii.gz")
    assert written[2, 3, 4] == 0 and written.sum() == written.size - 1


def test_a_case_that_was_unpacked_twice_is_taken_once(cohort, raw):
    """The tar files of the Kaggle copy of BraTS 2021."""
    for file in list((cohort / CASE).iterdir()):
        shutil.copyfile(file, cohort / file.name)
    dataset = convert([cohort], 137)
    assert len(list((dataset / "labelsTr").iterdir())) == 2
    assert sum("was ignored, a copy is there" in note for note in entry_of(dataset)["repairs"]) == 5


def test_the_regular_name_goes_before_the_odd_one(tmp_path, raw):
    case = make_case(tmp_path / "train", "BraTS20_Training_355")
    shutil.copyfile(case / f"{case.name}_t1.nii.gz", case / "W39_1998.09.19_Segm.nii.gz")
    dataset = convert([tmp_path / "train"], 137)
    (entry,) = json.loads((dataset / "conversion.json").read_text())["cases"].values()
    assert entry["repairs"] == [f"{case / 'W39_1998.09.19_Segm.nii.gz'} was ignored, a copy is there"]


def test_an_unpacked_copy_is_noted(cohort, raw):
    packed = cohort / CASE / f"{CASE}_t1.nii.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    (note,) = entry_of(convert([cohort], 137))["repairs"]
    assert note == f"{cohort / CASE / CASE}_t1.nii was ignored, a copy is there"


def spoil_labels(case):
    values = np.zeros(SHAPE, np.uint8)
    values[0, 0, 0] = 1
    replace_one(case, "seg", values)


BRAIN = with_border(0)
WARNINGS = {
    "no enhancing tumour": lambda case: replace_one(case, "seg", np.ones(SHAPE, np.uint8)),
    "labels outside the brain": spoil_labels,
    "modalities cover different volumes": lambda case: replace_one(case, "t2", BRAIN * (np.arange(8) > 4)),
    "saturated": lambda case: replace_one(case, "t2", np.minimum(BRAIN, 500)),
    "same image twice": lambda case: replace_one(case, "t2", BRAIN),
    "negative intensities": lambda case: replace_one(case, "t2", np.where(BRAIN > 800, -5, BRAIN)),
    "not skull-stripped?": lambda case: replace_one(case, "t2", np.arange(336, dtype=np.int16).reshape(SHAPE) + 1),
}


@pytest.mark.parametrize("kind", WARNINGS)
def test_odd_cases_are_converted_with_a_warning(tmp_path, raw, capsys, kind):
    case = make_case(tmp_path / "train", CASE)
    for number, modality in enumerate(("t1", "t1ce", "t2", "flair")):
        replace_one(case, modality, with_border(0) + number * (with_border(0) > 0))
    replace_one(case, "seg", 4 * (with_border(0) > 500).astype(np.uint8))
    assert check([case]).reports[CASE].warnings == []
    WARNINGS[kind](case)
    assert main(["convert", str(case), "-d", "137"]) == 0
    (dataset,) = raw.iterdir()
    assert any(warning.startswith(kind) for warning in entry_of(dataset)["warnings"])
    assert f"warning: {kind}: 1 case, {CASE}" in capsys.readouterr().out


def test_real_cases_have_nothing_odd_but_a_missing_tissue(real_cases):
    report = check([real_cases])
    assert not report.problems
    assert not any(case.fixes.fills for case in report.reports.values())
    warnings = {warning for case in report.reports.values() for warning in case.warnings}
    assert warnings == {"no enhancing tumour: none is labelled"}


def test_intensity_measures_in_closed_form():
    values = np.zeros((4, 4, 4))
    assert background_fill(values) is None
    assert background_fill(values - 7) == -7
    values[1, 1, :] = [1, 2, 3, 3]
    brain = brain_mask({"T1": values, "T2": values * 0})
    np.testing.assert_array_equal(brain, values != 0)
    assert intensity_warnings({"T1": values}, brain) == ["saturated: 50.0% of T1 is at its largest value 3"]
    assert intensity_warnings({"T1": np.ones((2, 2, 2))}, np.ones((2, 2, 2), bool)) == [
        "not skull-stripped?: 100% of the voxels are not zero"
    ]
    assert intensity_warnings({"T1": values, "T2": values * 0}, brain)[0] == (
        "modalities cover different volumes: of the brain in any, T1 100%, T2 0%"
    )
    assert intensity_warnings({"T1": -values}, brain) == ["negative intensities: T1 down to -3"]


def test_check_prints_the_census_and_writes_nothing(cohort, raw, capsys):
    replace_one(cohort / CASE, "seg", np.full(SHAPE, 4, np.uint8))
    assert main(["convert", "--check", str(cohort)]) == 0
    printed = capsys.readouterr().out
    assert "2 cases, 2 with a segmentation, read as BraTS 2021: told from the case ids" in printed
    rows = {line.split()[0]: line.split() for line in printed.splitlines() if line[:2] in ("NC", "ED", "ET")}
    first = values_of(cohort / "BraTS2021_00000" / "BraTS2021_00000_seg.nii.gz")
    assert rows["NCR"][1:3] == ["1", str((first == 1).sum())]
    assert rows["ET"][1:3] == ["2", str((first == 4).sum() + first.size)]
    assert list(raw.iterdir()) == []
    (cohort / CASE / f"{CASE}_t1.nii.gz").unlink()
    assert main(["convert", "--check", str(cohort)]) == 2
    assert "1 of 2 cases are invalid" in capsys.readouterr().err


def test_msd_volumes_become_channels_in_brats_order(tmp_path, raw):
    values = np.random.default_rng(0).integers(1, 900, (4, *SHAPE), dtype=np.int16)
    task = tmp_path / "Task01_BrainTumour"
    for folder, case in (("imagesTr", "BRATS_001"), ("imagesTs", "BRATS_485")):
        write(task / folder / f"{case}.nii.gz", values, spacing=(1, 1.5, 2))
    labels = np.random.default_rng(1).integers(0, 4, SHAPE, dtype=np.uint8)
    write(task / "labelsTr" / "BRATS_001.nii.gz", labels, spacing=(1, 1.5, 2))
    dataset = convert([task], 1)
    for channel, volume in enumerate([1, 2, 3, 0]):  # T1, T1ce, T2, FLAIR of FLAIR, T1, T1ce, T2
        for folder, case in (("imagesTr", "BRATS_001"), ("imagesTs", "BRATS_485")):
            image = sitk.ReadImage(str(dataset / folder / f"{case}_{channel:04d}.nii.gz"))
            np.testing.assert_array_equal(sitk.GetArrayFromImage(image), values[volume])
            assert image.GetSpacing() == (1, 1.5, 2) and image.GetOrigin() == (0, -239, 0)
    np.testing.assert_array_equal(values_of(dataset / "labelsTr" / "BRATS_001.nii.gz"), labels)  # the same meanings
