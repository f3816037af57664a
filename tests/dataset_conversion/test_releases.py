"""Made-up downloads of every release since 2025, and of what people have next to BraTS: there and back."""

import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import values_of
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
from releases import RELEASES, grid_of, label_path, make_release, write

from dataset_conversion import EDITIONS, check, convert
from dataset_conversion.find_cases import find_cases
from dataset_conversion.image_cases import find_prediction_cases, load_case
from dataset_conversion.splits import write_splits
from dataset_conversion.submission import write_submission
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.cli import main

GEOMETRY = ("Size", "Spacing", "Origin", "Direction")


def geometry(path):
    image = sitk.ReadImage(str(path))
    return [np.round(getattr(image, f"Get{what}")(), 5).tolist() for what in GEOMETRY]


def entries(dataset):
    return read_json(dataset / "conversion.json")["cases"]


@pytest.mark.parametrize("key", RELEASES)
def test_a_release_is_converted_and_comes_back(key, nnunet_folders):
    edition, root = EDITIONS[key], nnunet_folders / "download"
    originals = make_release(root, key)
    dataset = convert([root], 137, edition=RELEASES[key].edition)
    assert read_json(dataset / "conversion.json")["edition"] == key
    assert {file.name for file in (dataset / "labelsTr").iterdir()} == {f"{case}.nii.gz" for case in originals}
    assert len(list((dataset / "imagesTr").iterdir())) == len(edition.channels) * len(originals)
    assert read_json(dataset / "dataset.json")["channel_names"] == {
        str(number): name for number, name in enumerate(edition.channels)
    }
    for case, original in originals.items():
        raw = values_of(original).astype(int)
        expected = {edition.tissue_name(edition.tissues[value]): int((raw == value).sum()) for value in edition.tissues}
        assert entries(dataset)[case]["voxels"] == {name: n for name, n in expected.items() if name != "BACKGROUND"}
    _, written = write_submission(dataset / "labelsTr", nnunet_folders / "out", key, labels="nnunet")
    assert [path.name for path in written] == [
        f"{case}{'_gtv' if key == 'menrt' else ''}.nii.gz" for case in sorted(originals)
    ]
    for path, case in zip(written, sorted(originals), strict=True):
        np.testing.assert_array_equal(values_of(path), values_of(originals[case]))
        assert sitk.ReadImage(str(path)).GetPixelID() == sitk.sitkUInt8
        assert geometry(path) == geometry(originals[case])


@pytest.mark.parametrize("key", RELEASES)
def test_the_images_of_a_release_are_found_for_prediction(key, tmp_path):
    """With no need to name the edition, for those that share file names."""
    labels = make_release(tmp_path, key)
    found = find_prediction_cases([tmp_path], EDITIONS[key].channels)
    assert found.problems == {} and [case.case_id for case in found.cases] == sorted(labels)
    loaded = load_case(found.cases[-1], found.edition, found.channels)
    assert loaded.images.shape == (len(EDITIONS[key].channels), *grid_of(key, found.cases[-1].case_id).shape)


def test_nnunet_accepts_a_dataset_of_one_channel(nnunet_folders):
    make_release(nnunet_folders / "download", "menrt")
    verify_dataset_integrity(str(convert([nnunet_folders / "download"], 137)), num_processes=1)


@pytest.mark.parametrize(
    ("key", "patients"),
    [
        ("2025-gli", {"BraTS-GLI-00000": 1, "BraTS-GLI-00005": 2}),
        ("2025-met", {"BraTS-MET-00110": 1, "BraTS-MET-00132": 1, "BraTS-MET-00630": 1, "BraTS-MET-01325": 1}),
        ("menrt", {"BraTS-MEN-RT-0001": 1, "BraTS-MEN-RT-0002": 1}),
        ("upenn-gbm", {"UPENN-GBM-00001": 2, "UPENN-GBM-00002": 1}),
        ("ucsf-pdgm", {"UCSF-PDGM-0004": 1, "UCSF-PDGM-0429": 2}),
        ("brats-tcga", {"TCGA-02-0006": 1, "TCGA-CS-4942": 1}),
    ],
)
def test_patients_stay_together(key, patients, nnunet_folders, capsys):
    make_release(nnunet_folders / "download", key)
    convert([nnunet_folders / "download"], 137)
    _, folds = write_splits(137, folds=len(patients))
    assert sorted((fold.val[0].patient, len(fold.val)) for fold in folds) == sorted(patients.items())
    assert main(["splits", "-d", "137", "--folds", "2", "--overwrite"]) == 0
    assert ("with ET" in capsys.readouterr().out) is (key != "menrt")


# ---- suffixes in an order of preference ----


def test_the_segmentation_of_an_expert_wins(nnunet_folders):
    originals = make_release(nnunet_folders / "download", "upenn-gbm")
    automated = nnunet_folders / "download" / RELEASES["upenn-gbm"].others[0]
    cases = {case.case_id: case for case in find_cases([nnunet_folders / "download"], EDITIONS["upenn-gbm"])}
    assert {case: found.segmentation for case, found in cases.items()} == originals
    assert cases["UPENN-GBM-00001_11"].superseded == {"segmentation": (automated,)}
    dataset = convert([nnunet_folders / "download"], 137)
    assert (
        f"{automated} was passed over for {originals['UPENN-GBM-00001_11']}"
        in (entries(dataset)["UPENN-GBM-00001_11"]["repairs"])
    )
    assert entries(dataset)["UPENN-GBM-00002_11"]["repairs"] == [
        "UPENN-GBM-00002_11_automated_approx_segm.nii.gz was taken for UPENN-GBM-00002_11_segm.nii.gz"
    ]


def test_older_names_are_taken_where_the_usual_ones_are_missing(tmp_path):
    make_release(tmp_path, "ucsf-pdgm")
    folder = tmp_path / RELEASES["ucsf-pdgm"].cases["UCSF-PDGM-0004"]
    (folder / "UCSF-PDGM-0004_T1c.nii.gz").rename(folder / "UCSF-PDGM-0004_T1gad.nii.gz")
    first, second, _ = find_cases([tmp_path], EDITIONS["ucsf-pdgm"])
    assert first.images["T1ce"].name == "UCSF-PDGM-0004_T1gad.nii.gz"
    assert second.images["T1ce"].name == "UCSF-PDGM-0429_T1c.nii.gz"


@pytest.mark.parametrize("key", ["upenn-gbm", "ucsf-pdgm", "brats-tcga"])
def test_nothing_else_is_taken(key, tmp_path):
    make_release(tmp_path, key)
    others = {tmp_path / other for other in RELEASES[key].others}
    taken = {path for case in find_cases([tmp_path], EDITIONS[key]) for path in case.files}
    assert not taken & others
    assert len(taken) == (len(EDITIONS[key].channels) + 1) * len(RELEASES[key].cases)


# ---- corrections ----

MET, STRAY = "MICCAI-LH-BraTS2025-MET-Challenge-Training", "BraTS-MET-00630-001"
MET_2024 = "MICCAI-BraTS2024-MET-Challenge-TrainingData_2"
CORRECTED = "MICCAI-LH-BraTS2025-MET-Challenge-corrected-labels_batch1"


@pytest.fixture
def met(nnunet_folders):
    """MET 2025, of which one label map has a stray value."""
    make_release(nnunet_folders / "download", "2025-met")
    path = label_path(nnunet_folders / "download", "2025-met", STRAY)
    values = values_of(path)
    values[-1, -1, -2:] = 8
    write(grid_of("2025-met", STRAY).image(values), path)
    return nnunet_folders / "download"


def correct(met, place):
    """Put the label map without the stray value into the folder of corrections."""
    values = values_of(label_path(met, "2025-met", STRAY)).astype(np.uint16)
    values[values == 8] = 2
    write(grid_of("2025-met", STRAY).image(values), met / CORRECTED / place)
    return met / CORRECTED / place


@pytest.mark.parametrize("place", [f"{STRAY}-seg.nii.gz", f"{STRAY}/{STRAY}-seg.nii.gz"])
@pytest.mark.parametrize("as_inputs", ["one", "apart"])
def test_a_corrected_label_map_is_taken(met, place, as_inputs, caplog):
    caplog.set_level("INFO")
    corrected = correct(met, place)
    inputs = [met] if as_inputs == "one" else [met / MET, met / CORRECTED]
    dataset = convert(inputs, 137, edition="2025")
    replaced = label_path(met, "2025-met", STRAY)
    assert f"corrected files are taken for 1 label maps and 0 images, such as {corrected} for {replaced}" in caplog.text
    assert entries(dataset)[STRAY]["segmentation"]["file"] == str(corrected)
    assert f"{replaced} was passed over for {corrected}" in entries(dataset)[STRAY]["repairs"]
    _, written = write_submission(dataset / "labelsTr", met / "out", labels="nnunet")
    np.testing.assert_array_equal(values_of(written[2]), values_of(corrected))


def test_stray_values_without_a_correction_are_named_by_file(met):
    (line,) = check([met]).problems[STRAY]
    assert line.startswith(f"{label_path(met, '2025-met', STRAY)}: label values 8 are not among BraTS 2025 MET's 0, 1,")


def test_a_correction_of_a_case_that_is_not_there_is_left_out(met):
    corrected = correct(met, f"{STRAY}-seg.nii.gz")
    corrected.rename(corrected.with_name("BraTS-MET-09999-000-seg.nii.gz"))
    assert "BraTS-MET-09999-000" not in {case.case_id for case in find_cases([met], EDITIONS["2025-met"])}


def test_a_correction_that_changes_nothing_is_a_copy(met):
    original = label_path(met, "2025-met", "BraTS-MET-00132-000")
    (met / CORRECTED).mkdir()
    shutil.copy(original, met / CORRECTED / original.name)
    case = find_cases([met], EDITIONS["2025-met"])[1]
    assert case.ignored == (original,) and not case.superseded and not case.rivals


def test_two_corrections_that_differ_are_rivals(met):
    correct(met, f"{STRAY}-seg.nii.gz")
    other = correct(met, f"b/{STRAY}-seg.nii.gz")
    write(grid_of("2025-met", STRAY).image(values_of(other) * 0), other)
    (line,) = check([met]).problems[STRAY]
    assert "are both the segmentation of case" in line and line.count(CORRECTED) == 2


@pytest.mark.parametrize(
    ("key", "original", "fixed"),
    [("2023-men", "BraTS-MEN-Train", "BraTS-MEN-TRAIN-FIX-V4"), ("2024-met", MET_2024, f"{MET_2024}-fixed-cases")],
)
def test_whole_cases_are_corrected(key, original, fixed, nnunet_folders, caplog):
    caplog.set_level("INFO")
    root, edition, case = nnunet_folders / "download", EDITIONS[key], f"BraTS-{key[-3:].upper()}-00004-000"
    random = np.random.default_rng(0)
    for folder in (original, fixed):
        for role in edition.suffixes:
            values = random.integers(0, 4, (4, 5, 6), dtype=np.uint8)
            write(sitk.GetImageFromArray(values), root / folder / case / edition.file_name(case, role))
    dataset = convert([root], 137)
    assert read_json(dataset / "conversion.json")["edition"] == key
    assert "corrected files are taken for 1 label maps and 4 images" in caplog.text
    entry = entries(dataset)[case]
    assert {fixed in source["file"] for source in (*entry["images"].values(), entry["segmentation"])} == {True}
    np.testing.assert_array_equal(
        values_of(dataset / "imagesTr" / f"{case}_0000.nii.gz"), values_of(root / fixed / case / f"{case}-t1n.nii.gz")
    )


# ---- what the releases lack, and what their labels mean ----


def test_met_without_t2_says_how_to_take_it(met, raw, capsys):
    correct(met, f"{STRAY}-seg.nii.gz")
    (met / RELEASES["2025-met"].cases[STRAY] / f"{STRAY}-t2w.nii.gz").unlink()
    command = ["convert", str(met), "-d", "137", "--edition", "2025"]
    assert main(command) == 2
    assert "; BraTS 2025 MET has cases without it, which --allow-missing T2 takes" in capsys.readouterr().err
    assert main([*command, "--allow-missing", "T2"]) == 0
    assert f"without T2: 1 case, {STRAY}; zeros stand for it" in capsys.readouterr().out
    (dataset,) = raw.iterdir()
    assert entries(dataset)[STRAY]["absent"] == ["T2"]
    assert geometry(dataset / "imagesTr" / f"{STRAY}_0002.nii.gz") == geometry(
        dataset / "imagesTr" / f"{STRAY}_0000.nii.gz"
    )


def test_a_target_is_no_tissue(nnunet_folders, capsys):
    root = nnunet_folders / "download"
    originals = make_release(root, "menrt")
    empty = originals["BraTS-MEN-RT-0002-1"]
    write(grid_of("menrt", "BraTS-MEN-RT-0002-1").image(values_of(empty) * 0), empty)
    assert main(["convert", str(root), "-d", "137"]) == 0
    printed = capsys.readouterr().out
    assert "GTV" in printed and "enhancing" not in printed
    assert "warning: no gross tumour volume: 1 case, BraTS-MEN-RT-0002-1" in printed
    dataset = nnunet_folders / "nnUNet_raw" / "Dataset137_BraTSMEN-RT"
    assert read_json(dataset / "dataset.json")["labels"] == {"background": 0, "gross tumor volume": [1, 1]}
    with pytest.raises(InputError, match="BraTS MEN-RT labels other things"):
        write_submission(dataset / "labelsTr", nnunet_folders / "out", labels="2023-gli")
    with pytest.raises(InputError, match="BraTS 2023 GLI labels other things"):
        write_submission(dataset / "labelsTr", nnunet_folders / "out", "2023-gli", labels="menrt")
    assert not (nnunet_folders / "out").exists()


def test_the_dataset_says_what_its_targets_are(nnunet_folders, caplog):
    make_release(nnunet_folders / "download", "menrt")
    dataset = convert([nnunet_folders / "download"], 137)
    caplog.clear()
    write_submission(dataset / "labelsTr", nnunet_folders / "out")
    assert "nothing says what the values" not in caplog.text


def test_a_new_time_point_without_images_is_still_a_broken_download(met):
    for path in (met / RELEASES["2025-met"].cases[STRAY]).glob("*-t1*.nii.gz"):
        path.unlink()
    problems = check([met], allow_missing=("T2",)).problems[STRAY]
    assert any("lacks T1 (" in line and "--allow-missing" not in line for line in problems)


def test_editions_that_are_alike_become_one_dataset(nnunet_folders, raw):
    random = np.random.default_rng(0)
    for case in ("Brats18_TCIA01_147_1", "BraTS20_Training_001", "BraTS2021_00000"):
        for role in EDITIONS["2021"].suffixes:
            values = random.choice(np.array([0, 1, 2, 4], np.uint8), (4, 5, 6))
            path = nnunet_folders / case[:8] / case / EDITIONS["2021"].file_name(case, role)
            write(sitk.GetImageFromArray(values), path)
    inputs = [str(nnunet_folders / folder) for folder in ("Brats18_", "BraTS202", "BraTS20_")]
    assert main(["convert", *inputs, "-d", "1"]) == 0
    (dataset,) = raw.iterdir()
    assert dataset.name == "Dataset001_BraTS2018andBraTS2020andBraTS2021"
    _, folds = write_splits(1, folds=3)
    assert {fold.val[0].patient for fold in folds} == {
        "Brats18_TCIA01_147", "BraTS20_Training_001", "BraTS2021_00000"
    }  # fmt: skip
    edition, written = write_submission(dataset / "labelsTr", nnunet_folders / "out")
    assert edition.title == "BraTS 2018 and BraTS 2020 and BraTS 2021" and len(written) == 3
    for path in written:
        case = path.name.removesuffix(".nii.gz")
        np.testing.assert_array_equal(
            values_of(path), values_of(nnunet_folders / case[:8] / case / f"{case}_seg.nii.gz")
        )
    assert read_json(nnunet_folders / "out" / "run.json")["labels"] == "2018"  # a key that every command knows
