"""Axes that are not at right angles: put right where that changes next to nothing, and said."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import CASES, MODALITIES, shear_sform, values_of, write
from hypothesis import given
from hypothesis import strategies as st
from models import predict
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from scipy.linalg import polar

from dataset_conversion import convert
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.images import add_note, notes_of, read_image
from nnunet_resunet_ds.base.orientation import nearest_rotation, shear, straightened

ALMOST = 5e-4
"""A cosine that ITK refuses, and that is put right."""
matrices = st.lists(st.integers(-20, 20), min_size=9, max_size=9).map(lambda values: np.reshape(values, (3, 3)) / 20)


@given(matrices)
def test_the_nearest_rotation_is_the_polar_decomposition_s(matrix):
    axes = np.eye(3) + matrix / 10
    np.testing.assert_allclose(nearest_rotation(axes), polar(axes)[0], atol=1e-12)


@given(st.floats(-0.9, 0.9), st.permutations(range(3)))
def test_shear_is_the_cosine_between_two_axes(cosine, order):
    axes = np.array([[1, cosine, 0], [0, np.sqrt(1 - cosine**2), 0], [0, 0, 1]])[:, list(order)]
    assert shear(axes) == pytest.approx(abs(cosine))


def test_spacing_and_origin_stay():
    sform = np.array([[2, 0.001, 0, 5], [0, 3, 0, 6], [0, 0, 4, 7.0]])
    made = straightened(sform, np.array([2.0, 3.0, 4.0]))
    np.testing.assert_allclose(np.linalg.norm(made[:, :3], axis=0), [2, 3, 4])
    np.testing.assert_array_equal(made[:, 3], [5, 6, 7])
    np.testing.assert_allclose(made, sform, atol=1e-3)


@pytest.mark.parametrize(("off", "qform_code", "note"), [
    (0, 0, None), (5e-5, 0, None), (5e-5, 1, None),
    (ALMOST, 0, "off the right angle by 0.0005; the nearest at right angles were taken"),
    (ALMOST, 1, "was read by its qform"), (0.2, 1, "was read by its qform"),
])  # fmt: skip
def test_an_image_is_read_with_a_note_where_its_axes_were_not_right(tmp_path, off, qform_code, note):
    path = tmp_path / "x.nii.gz"
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    write(path, values, origin=(3, 4, 5))
    shear_sform(path, off, qform_code)
    image = read_image(path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), values)
    np.testing.assert_allclose(image.GetOrigin(), (3, 4, 5))
    axes = np.reshape(image.GetDirection(), (3, 3))
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1.1e-4)
    np.testing.assert_allclose(axes, np.eye(3), atol=1e-3)
    assert len(notes_of(image)) == (note is not None) and (note or "") in "".join(notes_of(image))


def test_a_shear_that_matters_is_refused_with_what_to_do(tmp_path):
    write(tmp_path / "x.nii.gz", np.ones((3, 4, 5), np.int16))
    shear_sform(tmp_path / "x.nii.gz", 0.1)
    with pytest.raises(InputError, match=r"sform\) is not orthonormal \(5.7° off the right angle\).*resample"):
        read_image(tmp_path / "x.nii.gz")


def test_notes_add_up():
    image = sitk.Image(2, 2, 2, sitk.sitkUInt8)
    for note in ("a: b", "c: d"):
        add_note(image, note)
    assert notes_of(image) == ["a: b", "c: d"]


# ---- in a case ----


@pytest.mark.parametrize("files", [["t2"], ["seg"], [*MODALITIES, "seg"]], ids=len)
@pytest.mark.parametrize(("off", "qform_code"), [(ALMOST, 0), (0.2, 1)])
def test_convert_rewrites_what_nnunet_would_refuse(cohort, raw, files, off, qform_code):
    for file in files:
        shear_sform(cohort / CASES[1] / f"{CASES[1]}_{file}.nii.gz", off, qform_code)
    dataset = convert([cohort], 137)
    notes = json.loads((dataset / "conversion.json").read_text())["cases"][CASES[1]]["repairs"]
    assert len(notes) == len(files)
    for file in files:
        assert sum(f"{CASES[1]}_{file}.nii.gz" in note and "right angle" in note for note in notes) == 1
    images = [str(dataset / "imagesTr" / f"{CASES[1]}_{channel:04d}.nii.gz") for channel in range(4)]
    for reader in (SimpleITKIO(), NibabelIO()):
        reader.read_images(images)
        reader.read_seg(str(dataset / "labelsTr" / f"{CASES[1]}.nii.gz"))
    for channel, modality in enumerate(MODALITIES):
        name = f"{CASES[1]}_{modality}.nii.gz"
        np.testing.assert_array_equal(values_of(images[channel]), read_values(cohort / CASES[1] / name))


def read_values(path):
    return sitk.GetArrayFromImage(read_image(path))


def test_predict_says_so(cohort, model, tmp_path, capsys):
    for modality in MODALITIES:
        shear_sform(cohort / CASES[0] / f"{CASES[0]}_{modality}.nii.gz", ALMOST)
    assert predict(cohort, tmp_path / "out", model) == 0
    said = capsys.readouterr().out
    assert f"warning: axes put at right angles: 1 case, {CASES[0]} (the axes of {CASES[0]}_t1.nii.gz were" in said
    assert "not co-registered" not in said


def test_a_damaged_file_with_a_shear_is_refused_in_a_line(tmp_path):
    """Large enough that ITK reads its header before it meets the damage."""
    path = tmp_path / "damaged.nii.gz"
    write(path, np.random.default_rng(0).integers(0, 900, (90, 101, 100), np.int16))
    shear_sform(path, ALMOST)
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # of the checksum
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_image(path)
