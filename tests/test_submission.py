import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import SHAPE, values_of, write
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dataset_conversion import EDITIONS, convert
from dataset_conversion.labels import nnunet_labels, raw_labels
from dataset_conversion.submission import write_submission
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.errors import InputError

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
    assert written.name == f"{case}.nii.gz"
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
    with pytest.raises(InputError, match=r"BraTS2021_00003\.nii\.gz: label values 4 are not among(.|\n)*1 are written"):
        write_submission(labels, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["BraTS2021_00000.nii.gz"]


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
