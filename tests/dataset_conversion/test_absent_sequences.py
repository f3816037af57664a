"""Cases that lack a sequence: refused as ever, or taken with an image of zeros where the user allows it."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import CASES, MODALITIES, SHAPE, replace_one, values_of
from nnunetv2.experiment_planning.verify_dataset_integrity import check_cases
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from dataset_conversion import check, convert
from dataset_conversion.image_cases import find_prediction_cases, load_case, single_case
from dataset_conversion.sequences import optional_channels
from dataset_conversion.staging import dataset_identity
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.cli import main

CHANNELS = ("T1", "T1ce", "T2", "FLAIR")
FULL, LACKING = CASES
GRID = {"origin": (7.0, -11.0, 3.0), "spacing": (0.86, 0.86, 1.5)}


@pytest.fixture
def without_t2(cohort):
    """The cohort, of which the second case has no T2, and lies on a grid that is not that of a new image."""
    for modality in (*MODALITIES, "seg"):
        replace_one(cohort / LACKING, modality, **GRID)
    (cohort / LACKING / f"{LACKING}_t2.nii.gz").unlink()
    return cohort


def entry_of(dataset, case):
    return read_json(dataset / "conversion.json")["cases"][case]


def zeros_in(cohort, modality):
    replace_one(cohort / LACKING, modality, np.zeros(SHAPE, np.int16))


# ---- conversion ----


def test_an_image_of_zeros_stands_on_the_grid_of_the_others(without_t2, raw, capsys):
    assert main(["convert", str(without_t2), "-d", "137", "--allow-missing", "T2"]) == 0
    assert f"without T2: 1 case, {LACKING}; zeros stand for it" in capsys.readouterr().out
    dataset = raw / "Dataset137_BraTS2021"
    images = [str(dataset / "imagesTr" / f"{LACKING}_{channel:04d}.nii.gz") for channel in range(4)]
    assert check_cases(images, str(dataset / "labelsTr" / f"{LACKING}.nii.gz"), 4, SimpleITKIO)  # nnU-Net's own check
    zeros, t1 = (sitk.ReadImage(str(dataset / "imagesTr" / f"{LACKING}_{number:04d}.nii.gz")) for number in (2, 0))
    assert not sitk.GetArrayViewFromImage(zeros).any()
    for what in ("Size", "Spacing", "Origin", "Direction"):
        assert getattr(zeros, f"Get{what}")() == getattr(t1, f"Get{what}")()
    assert entry_of(dataset, LACKING)["absent"] == ["T2"]
    assert list(entry_of(dataset, LACKING)["images"]) == ["T1", "T1ce", "FLAIR"]
    assert "absent" not in entry_of(dataset, FULL)
    assert read_json(dataset / "conversion.json")["allow_missing"] == ["T2"]


def test_without_the_flag_it_is_refused_before_and_after(without_t2, raw, capsys):
    command = ["convert", str(without_t2), "-d", "137"]
    assert main(command) == 2
    refused = capsys.readouterr().err
    assert f"{LACKING}_t2.nii.gz: missing; all of T1, T1ce, T2, FLAIR are needed" in refused
    assert main([*command, "--allow-missing", "T2"]) == 0
    before = (raw / "Dataset137_BraTS2021" / "conversion.json").read_bytes()
    capsys.readouterr()
    assert main(command) == 2
    assert f"{LACKING}_t2.nii.gz: missing" in capsys.readouterr().err
    assert (raw / "Dataset137_BraTS2021" / "conversion.json").read_bytes() == before


def test_a_second_run_has_nothing_to_do(without_t2, raw, caplog):
    caplog.set_level("INFO")
    dataset = convert([without_t2], 137, allow_missing=("T2",))
    inode = (dataset / "imagesTr" / f"{LACKING}_0002.nii.gz").stat().st_ino
    convert([without_t2], 137, allow_missing=("T2",))
    assert "is up to date" in caplog.text
    assert (dataset / "imagesTr" / f"{LACKING}_0002.nii.gz").stat().st_ino == inode


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"other")])
def test_a_lost_image_of_zeros_is_made_again(without_t2, raw, damage):
    dataset = convert([without_t2], 137, allow_missing=("T2",))
    damage(dataset / "imagesTr" / f"{LACKING}_0002.nii.gz")
    convert([without_t2], 137, allow_missing=("T2",))
    assert not values_of(dataset / "imagesTr" / f"{LACKING}_0002.nii.gz").any()


def test_the_image_that_comes_later_takes_its_place_and_the_dataset_is_another(without_t2, raw):
    dataset = convert([without_t2], 137, allow_missing=("T2",))
    identity = read_json(dataset / "dataset.json")["identity"]
    case = without_t2 / LACKING
    late = case / f"{LACKING}_t2.nii.gz"
    replace_one(case, "t2", values_of(case / f"{LACKING}_t1.nii.gz") + 1, **GRID)
    convert([without_t2], 137, allow_missing=("T2",))
    np.testing.assert_array_equal(values_of(dataset / "imagesTr" / f"{LACKING}_0002.nii.gz"), values_of(late))
    assert "absent" not in entry_of(dataset, LACKING)
    assert read_json(dataset / "dataset.json")["identity"] != identity


def test_the_same_files_as_other_sequences_are_another_dataset():
    """T1 and FLAIR of one case, T2 and FLAIR of the other: the digests alone would not tell them apart."""
    made = {"edition": "2021", "custom_edition": None}
    identities = {
        dataset_identity({"case": entry_lacking(channels, absent)}, made)
        for channels, absent in ((("FLAIR", "T1"), ["T2"]), (("FLAIR", "T2"), ["T1"]))
    }
    assert len(identities) == 2


def entry_lacking(channels, absent):
    images = {channel: {"sha256": f"{number}"} for number, channel in enumerate(channels)}
    return {"images": images, "segmentation": {"sha256": "s"}, "absent": absent}


def test_a_whole_cohort_is_converted_to_the_same_bytes_with_and_without_the_flag(cohort, raw):
    folders = [convert([cohort], number, allow_missing=allowed) for number, allowed in ((1, ()), (2, ("T2", "T1")))]
    one, other = ({file.relative_to(folder): file.read_bytes() for file in folder.rglob("*.gz")} for folder in folders)
    assert one == other
    json_files = [read_json(folder / "dataset.json") for folder in folders]
    assert json_files[0] == json_files[1]  # the identity among it


def test_a_file_of_zeros_is_an_absent_sequence(cohort, raw, capsys):
    zeros_in(cohort, "t2")
    assert main(["convert", str(cohort), "-d", "137"]) == 2
    assert "T2 is zero everywhere" in capsys.readouterr().err
    dataset = convert([cohort], 137, allow_missing=("t2w",))
    assert entry_of(dataset, LACKING)["absent"] == ["T2"]
    assert not any("cover different volumes" in warning for warning in entry_of(dataset, LACKING)["warnings"])
    assert main(["convert", str(cohort), "-d", "137"]) == 2


def test_images_that_are_not_opened_may_be_absent_too(without_t2, raw):
    dataset = convert([without_t2], 137, allow_missing=("T2",), validate=False)
    assert entry_of(dataset, LACKING)["absent"] == ["T2"]
    images = [str(dataset / "imagesTr" / f"{LACKING}_{channel:04d}.nii.gz") for channel in range(4)]
    assert not values_of(images[2]).any()
    assert check_cases(images, str(dataset / "labelsTr" / f"{LACKING}.nii.gz"), 4, SimpleITKIO)


def test_something_must_be_there(cohort, raw):
    for modality in MODALITIES:
        (cohort / LACKING / f"{LACKING}_{modality}.nii.gz").unlink()
    (line,) = check([cohort], allow_missing=CHANNELS).problems[LACKING]
    assert "lacks T1" in line and "all of T1, T1ce, T2, FLAIR are needed" in line


def test_something_must_be_more_than_zeros(cohort, raw):
    for modality in MODALITIES:
        zeros_in(cohort, modality)
    (line,) = check([cohort], allow_missing=CHANNELS).problems[LACKING]
    assert f"all images of case {LACKING} are zero everywhere" in line


def test_others_than_those_named_are_still_needed(without_t2, raw):
    (without_t2 / FULL / f"{FULL}_flair.nii.gz").unlink()
    (line,) = check([without_t2], allow_missing=("T2",)).problems[FULL]
    assert line.endswith("_flair.nii.gz: missing; all of T1, T1ce, FLAIR are needed")


def test_a_sequence_nobody_knows_is_named(cohort, raw, capsys):
    assert main(["convert", str(cohort), "-d", "137", "--allow-missing", "T2,DWI"]) == 2
    assert "--allow-missing DWI: no such sequence; choose from T1, T1ce, T2, FLAIR" in capsys.readouterr().err


def test_sequences_are_known_by_their_usual_names():
    assert optional_channels(["t2w", "fla"], CHANNELS) == ("T2", "FLAIR")
    assert optional_channels(["T2"], ("T1w", "T2w")) == ("T2w",)
    assert optional_channels(["T2w"], ("T1w", "T2w")) == ("T2w",)
    assert optional_channels(["ADC"], ("ADC", "T1")) == ("ADC",)
    assert optional_channels(["T2"], ("T1ce",)) == ()


# ---- what prediction reads ----


def test_what_is_there_is_read_and_the_rest_is_zero(without_t2):
    whole = load_case(find_prediction_cases([without_t2], CHANNELS).cases[0], *_layout(without_t2))
    assert whole.absent == ()
    found = find_prediction_cases([without_t2], CHANNELS, allow_missing=("T2",))
    assert found.problems == {}
    loaded = load_case(found.cases[1], found.edition, found.channels)
    assert loaded.absent == ("T2",) and list(loaded.identities) == ["T1", "T1ce", "FLAIR"]
    expected = np.stack([
        np.zeros(SHAPE, np.int16) if name == "t2" else values_of(without_t2 / LACKING / f"{LACKING}_{name}.nii.gz")
        for name in MODALITIES
    ])  # fmt: skip
    np.testing.assert_array_equal(loaded.images, expected)
    assert loaded.images.dtype == np.int16


def _layout(folder):
    found = find_prediction_cases([folder], CHANNELS)
    return found.edition, found.channels


def test_what_is_not_allowed_to_be_absent_is_a_problem(without_t2):
    found = find_prediction_cases([without_t2], CHANNELS, allow_missing=("T1",))
    assert list(found.problems) == [LACKING]
    with pytest.raises(InputError, match=f"{LACKING} has no T2"):
        load_case(found.cases[1], found.edition, found.channels)


def test_images_by_nnunet_s_names_may_lack_one_too(images_ts):
    (images_ts / f"{LACKING}_0001.nii.gz").unlink()
    names = ("T1w", "T1gd", "T2w", "FLAIR")
    assert list(find_prediction_cases([images_ts], names).problems) == [LACKING]
    found = find_prediction_cases([images_ts], names, allow_missing=("T1ce",))
    assert found.problems == {} and load_case(found.cases[1], found.edition, found.channels).absent == ("T1gd",)


def test_what_convert_wrote_is_read_with_the_sequence_absent(without_t2, raw, tmp_path):
    """Tuning and the report read these images, too; elsewhere, nothing says that the zeros are meant."""
    images = convert([without_t2], 137, allow_missing=("T2",)) / "imagesTr"
    found = find_prediction_cases([images], CHANNELS)
    assert [load_case(case, found.edition, found.channels).absent for case in found.cases] == [(), ("T2",)]
    elsewhere = shutil.copytree(images, tmp_path / "elsewhere")
    found = find_prediction_cases([elsewhere], CHANNELS, allow_missing=("T2",))
    assert load_case(found.cases[1], found.edition, found.channels).absent == ("T2",)
    found = find_prediction_cases([elsewhere], CHANNELS)
    with pytest.raises(InputError, match="T2 is zero everywhere"):
        load_case(found.cases[1], found.edition, found.channels)


@pytest.mark.parametrize("entry", [[], {"absent": "T2"}, {"absent": [3]}, {"absent": {}}])
def test_a_damaged_record_allows_nothing(images_ts, entry):
    (images_ts.parent / "conversion.json").write_text(json.dumps({"cases": {LACKING: entry}}))
    (images_ts / f"{LACKING}_0002.nii.gz").unlink()
    found = find_prediction_cases([images_ts], CHANNELS)
    assert list(found.problems) == [LACKING] and found.cases[1].optional == ()


def test_one_case_by_its_files(without_t2):
    files = {
        name: without_t2 / LACKING / f"{LACKING}_{modality}.nii.gz"
        for name, modality in zip(CHANNELS, MODALITIES, strict=True)
        if modality != "t2"
    }
    with pytest.raises(InputError, match="T2 is missing"):
        single_case("a", files, CHANNELS)
    found = single_case("a", files, CHANNELS, allow_missing=("T2", "T1"))
    loaded = load_case(found.cases[0], found.edition, found.channels)
    assert loaded.absent == ("T2",) and not loaded.images[2].any() and loaded.images[0].any()
    with pytest.raises(InputError, match="T1, T1ce, T2, FLAIR is missing"):
        single_case("a", {}, CHANNELS, allow_missing=CHANNELS)


def test_a_model_of_sequences_that_the_edition_lacks_does_not_read_zeros(cohort, tmp_path):
    case = tmp_path / "rt" / "BraTS-MEN-RT-0001-1"
    case.mkdir(parents=True)
    shutil.copy(cohort / FULL / f"{FULL}_t1ce.nii.gz", case / f"{case.name}_t1c.nii.gz")
    found = find_prediction_cases([tmp_path / "rt"], CHANNELS)
    assert found.problems == {
        case.name: [f"{case}: BraTS MEN-RT has no T1, T2, FLAIR; all of T1, T1ce, T2, FLAIR are needed"]
    }
    found = find_prediction_cases([tmp_path / "rt"], CHANNELS, allow_missing=("T1", "T2", "FLAIR"))
    assert found.problems == {}
    assert load_case(found.cases[0], found.edition, found.channels).absent == ("T1", "T2", "FLAIR")
    (only,) = find_prediction_cases([tmp_path / "rt"], ("T1ce",)).cases
    assert list(only.images) == ["T1ce"]
