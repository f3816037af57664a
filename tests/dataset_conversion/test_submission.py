import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import CASES, MODALITIES, SHAPE, values_of, write
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from models import predict

from dataset_conversion import EDITIONS, convert
from dataset_conversion.labels import nnunet_labels, raw_labels
from dataset_conversion.submission import write_submission
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.evaluation import evaluate
from nnunet_resunet_ds.evaluation.label_maps import find_label_maps

SPACING = (1.0, 1.5, 2.0)


def raw_label_maps(edition):
    return hnp.arrays(np.int16, SHAPE, elements=st.sampled_from(sorted(edition.tissues)))


@given(st.sampled_from(sorted(EDITIONS)).flatmap(lambda key: st.tuples(st.just(key), raw_label_maps(EDITIONS[key]))))
def test_every_original_label_map_comes_back(example):
    key, values = example
    tissues = EDITIONS[key].tissues
    np.testing.assert_array_equal(raw_labels(nnunet_labels(values, tissues), tissues), values)


@pytest.mark.parametrize("key", EDITIONS)
def test_convert_then_submission_gives_the_files_back(key, nnunet_folders):
    edition, case, raw = EDITIONS[key], "case-1", nnunet_folders / "download"
    random = np.random.default_rng(0)
    folder, shape, label_folder = raw / case, SHAPE, raw / case
    if edition.volumes:
        folder, shape, label_folder = raw / "imagesTr", (len(edition.volumes), *SHAPE), raw / "labelsTr"
    for suffix in set(edition.image_suffixes.values()):
        write(folder / f"{case}{suffix}.nii.gz", random.integers(1, 900, shape, dtype=np.int16), spacing=SPACING)
    original = random.choice(np.array(sorted(edition.tissues), dtype=np.uint8), SHAPE)
    segmentation = label_folder / f"{case}{edition.segmentation_suffix}.nii.gz"
    write(segmentation, original, spacing=SPACING)
    dataset = convert([raw], 137, edition=key)
    _, (written,) = write_submission(dataset / "labelsTr", nnunet_folders / "out", key)
    assert written.name == (f"{case}_gtv.nii.gz" if key == "menrt" else f"{case}.nii.gz")
    source = sitk.ReadImage(str(segmentation))
    image = sitk.ReadImage(str(written))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), original)
    assert image.GetPixelID() == sitk.sitkUInt8
    for name in ("Size", "Spacing", "Origin", "Direction"):
        assert getattr(image, f"Get{name}")() == getattr(source, f"Get{name}")()


def test_real_cases_come_back(real_cases, nnunet_folders):
    dataset = convert([real_cases], 137)
    edition, written = write_submission(dataset / "labelsTr", nnunet_folders / "out")
    assert edition.key == "2021" and len(written) == 5
    for file in written:
        case = file.name.removesuffix(".nii.gz")
        np.testing.assert_array_equal(values_of(file), values_of(real_cases / case / f"{case}_seg.nii.gz"))


@pytest.fixture
def labels(tmp_path):
    for case in ("BraTS2021_00000", "BraTS2021_00003"):
        write(tmp_path / "labels" / f"{case}.nii.gz", np.random.default_rng(0).integers(0, 4, SHAPE, dtype=np.uint8))
    return tmp_path / "labels"


def test_the_command_says_what_it_wrote(labels, tmp_path, capsys):
    (labels / "postprocessing.json").write_text("{}")
    assert main(["submission", "-i", str(labels), "-o", str(tmp_path / "out")]) == 0
    assert "wrote 2 label maps of BraTS 2021 (1 NCR, 2 ED, 4 ET)" in capsys.readouterr().out
    assert set(np.unique(values_of(tmp_path / "out" / "BraTS2021_00000.nii.gz"))) == {0, 1, 2, 4}


def test_a_foreign_value_is_named_and_does_not_stop_the_others(labels, tmp_path):
    write(labels / "BraTS2021_00003.nii.gz", np.full(SHAPE, 4, dtype=np.uint8))
    with pytest.raises(InputError, match=r"BraTS2021_00003\.nii\.gz: label values 4 are not among(.|\n)*1 written"):
        write_submission(labels, tmp_path / "out", labels="nnunet")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["BraTS2021_00000.nii.gz", "run.json"]


def test_bad_requests_are_named(labels, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, output, edition, message in [
        (tmp_path / "nowhere", "out", "auto", "no such folder"),
        (tmp_path / "empty", "out", "auto", "no label maps"),
        (labels, "labels", "auto", "overwrite"),
        (labels, "out", "2023", "cannot tell the edition"),
        (labels, "out", "1999", "no edition '1999'"),
    ]:
        with pytest.raises(InputError, match=message):
            write_submission(folder, tmp_path / output, edition)
    assert not (tmp_path / "out").exists()


# ---- values are translated once ----


def gli(cohort, tmp_path):
    """The cohort as cases of 2023 GLI."""
    names = {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f"}
    for number, case in enumerate(CASES):
        folder = tmp_path / "gli" / f"BraTS-GLI-{number:05d}-000"
        folder.mkdir(parents=True)
        for old, new in names.items():
            shutil.copy(cohort / case / f"{case}_{old}.nii.gz", folder / f"{folder.name}-{new}.nii.gz")
    return tmp_path / "gli"


def maps(folder):
    return {file.name: values_of(file) for file in sorted(folder.glob("*.nii.gz"))}


def equal(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def test_a_prediction_in_an_edition_s_values_is_not_translated_again(cohort, model, tmp_path, capsys):
    raw = gli(cohort, tmp_path)
    predict(raw, tmp_path / "nnunet", model)
    predict(raw, tmp_path / "as_2023", model, "--labels", "2023-gli")
    for name in ("nnunet", "as_2023"):
        assert main(["submission", "-i", str(tmp_path / name), "-o", str(tmp_path / f"{name}_out")]) == 0
    handed_in = maps(tmp_path / "nnunet_out")
    assert equal(handed_in, maps(tmp_path / "as_2023_out")) and equal(handed_in, maps(tmp_path / "as_2023"))
    assert not equal(handed_in, maps(tmp_path / "nnunet"))
    capsys.readouterr()
    assert main(["submission", "-i", str(tmp_path / "nnunet_out"), "-o", str(tmp_path / "twice")]) == 2
    assert "is a submission with the values of BraTS 2023 GLI already" in capsys.readouterr().err
    assert not (tmp_path / "twice").exists()


def test_evaluate_reads_what_submission_wrote(cohort, model, tmp_path):
    raw = gli(cohort, tmp_path)
    predict(raw, tmp_path / "nnunet", model)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "postprocessing.json").write_text("{}")  # of something that was there before
    write_submission(tmp_path / "nnunet", tmp_path / "out")
    found = find_label_maps(tmp_path / "out")
    assert found.labels == "2023-gli" and found.is_declared
    scores = evaluate(tmp_path / "nnunet", tmp_path / "out").cases
    assert all(region["dice"] == 1 for case in scores.values() for region in case.values())


def test_a_custom_edition_travels_with_the_label_maps(cohort, model, tmp_path):
    description = tmp_path / "mine.json"
    images = {name: f"_{file}" for name, file in zip(("T1", "T1ce", "T2", "FLAIR"), MODALITIES, strict=True)}
    labels = {"NCR": 7, "ED": 5, "ET": 9}
    description.write_text(json.dumps({"images": images, "segmentation": "_seg", "labels": labels}))
    predict(cohort, tmp_path / "nnunet", model)
    predict(cohort, tmp_path / "mine", model, "--labels", "custom", "--edition-file", str(description))
    assert set(np.unique(values_of(tmp_path / "mine" / f"{CASES[0]}.nii.gz"))) <= {0, 5, 7, 9}
    scores = evaluate(tmp_path / "nnunet", tmp_path / "mine").cases
    assert all(region["dice"] == 1 for case in scores.values() for region in case.values())
    for name in ("nnunet", "mine"):
        write_submission(tmp_path / name, tmp_path / f"{name}_out", "2021")
    assert equal(maps(tmp_path / "nnunet_out"), maps(tmp_path / "mine_out"))


def test_values_that_nothing_declares_are_asked_for(labels, tmp_path, capsys):
    command = ["submission", "-i", str(labels), "-o", str(tmp_path / "a")]
    assert main(command) == 2
    assert "nothing says what the values of its label maps are; say it with --labels: nnunet" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    assert main([*command, "--labels", "nnunet"]) == 0
    assert main(["submission", "-i", str(labels), "-o", str(tmp_path / "c"), "--labels", "2023-gli"]) == 0
    assert not equal(maps(tmp_path / "a"), maps(tmp_path / "c"))
    assert main(["submission", "-i", str(labels), "-o", str(tmp_path / "c"), "--labels", "1999"]) == 2


def test_submissions_to_two_editions_do_not_share_a_folder(labels, tmp_path, capsys):
    write_submission(labels, tmp_path / "out", "2021", labels="nnunet")
    write(tmp_path / "more" / "BraTS2021_00007.nii.gz", np.zeros(SHAPE, np.uint8))
    with pytest.raises(InputError, match=r"label values .*: then 2021, now 2023-gli"):
        write_submission(tmp_path / "more", tmp_path / "out", "2023-gli", labels="nnunet")
    write_submission(tmp_path / "more", tmp_path / "out", "2021", labels="nnunet")
    assert len(find_label_maps(tmp_path / "out").files) == 3


def test_label_maps_that_are_not_compressed_are_handed_in_too(labels, tmp_path):
    file = labels / "BraTS2021_00003.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(file)), str(labels / "BraTS2021_00003.nii"))
    with pytest.raises(InputError, match=r"has BraTS2021_00003 as \.nii\.gz and \.nii; leave one"):
        write_submission(labels, tmp_path / "out", labels="nnunet")
    expected = values_of(file)
    file.unlink()
    _, written = write_submission(labels, tmp_path / "out", "2021", labels="nnunet")
    assert [path.name for path in written] == ["BraTS2021_00000.nii.gz", "BraTS2021_00003.nii.gz"]
    np.testing.assert_array_equal(nnunet_labels(values_of(written[1]), EDITIONS["2021"].tissues), expected)


def test_label_values_of_a_later_version_are_not_guessed(labels, tmp_path):
    cases = {file.name.removesuffix(".nii.gz"): {} for file in labels.iterdir()}
    (labels / "run.json").write_text(json.dumps({"labels": "2099-gli", "cases": cases}))
    with pytest.raises(InputError, match=r"run\.json: label values '2099-gli' are not known"):
        write_submission(labels, tmp_path / "out")


def test_what_a_killed_run_left_half_written_is_not_handed_in(nnunet_folders, cohort, tmp_path):
    dataset = convert([cohort], 137)
    output = tmp_path / "submission"
    output.mkdir()
    for name in (f".0123abcd.{CASES[0]}.nii.gz", ".0123abcd.run.json", "notes.txt"):
        (output / name).touch()
    write_submission(dataset / "labelsTr", output, "2021")
    written = [f"{case}.nii.gz" for case in CASES]
    assert sorted(path.name for path in output.iterdir()) == sorted([*written, "run.json", "notes.txt"])
