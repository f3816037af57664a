"""Images stored along other axes: each voxel must keep its value and its place in the world."""

import itertools
import json
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import CASES, MODALITIES, SHAPE, replace_one, values_of, write
from hypothesis import given, settings
from hypothesis import strategies as st
from models import predict
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from dataset_conversion import convert
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.images import geometry_difference, write_image
from nnunet_resunet_ds.base.reader_space import turned_onto

SIGNED_PERMUTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def rotation(angles):
    turn = sitk.Euler3DTransform((0, 0, 0), *angles)
    return np.reshape(turn.GetMatrix(), (3, 3))


def stored_along(reference, order, signs, values=None):
    """Make an image whose axis k is the reference's axis order[k], backwards where signs[k] is -1, with new values."""
    size = [reference.GetSize()[axis] for axis in order]
    if values is None:
        values = np.arange(np.prod(size)).reshape(size[::-1]).astype(np.int32)
    image = sitk.GetImageFromArray(values)
    first = [0, 0, 0]
    for axis, sign in zip(order, signs, strict=True):
        first[axis] = 0 if sign > 0 else reference.GetSize()[axis] - 1
    image.SetOrigin(reference.TransformIndexToPhysicalPoint(first))
    image.SetSpacing([reference.GetSpacing()[axis] for axis in order])
    columns = np.reshape(reference.GetDirection(), (3, 3))[:, list(order)] * signs
    image.SetDirection(columns.ravel().tolist())
    return image


@st.composite
def references(draw):
    image = sitk.Image(draw(st.tuples(*[st.integers(1, 5)] * 3)), sitk.sitkUInt8)
    image.SetOrigin(draw(st.tuples(*[st.floats(-300, 300)] * 3)))
    image.SetSpacing(draw(st.tuples(*[st.floats(0.5, 3)] * 3)))
    angles = draw(st.tuples(*[st.integers(-30, 30)] * 3))  # no tiny floats: ITK's SVD stumbles over 1e-311
    image.SetDirection(rotation([angle / 10 for angle in angles]).ravel().tolist())
    return image


@pytest.mark.parametrize(("order", "signs"), SIGNED_PERMUTATIONS)
@settings(max_examples=10)
@given(references())
def test_every_voxel_stays_at_its_place_in_the_world(order, signs, reference):
    image = stored_along(reference, order, signs)
    turned = turned_onto(image, reference)
    assert geometry_difference(turned, reference) is None
    for index in itertools.product(*map(range, image.GetSize())):
        there = turned.TransformPhysicalPointToIndex(image.TransformIndexToPhysicalPoint(index))
        assert turned[there] == image[index]


@given(
    references(), st.sampled_from(SIGNED_PERMUTATIONS), st.sampled_from(["shifted", "oblique", "larger", "stretched"])
)
def test_what_lies_elsewhere_is_not_turned(reference, permutation, how):
    image = stored_along(reference, *permutation)
    if how == "shifted":
        image.SetOrigin(np.add(image.GetOrigin(), (0, 0, 0.5)).tolist())
    elif how == "oblique":
        direction = rotation((0, 0, 0.1)) @ np.reshape(image.GetDirection(), (3, 3))
        image.SetDirection(direction.ravel().tolist())
    elif how == "larger":
        image = sitk.ConstantPad(image, (0, 0, 0), (0, 1, 0), 0)
    else:
        image.SetSpacing(np.multiply(image.GetSpacing(), (1, 1, 1.1)).tolist())
    assert turned_onto(image, reference) is None


# ---- in a case ----

TURNS = {"flipped": ((0, 1, 2), (-1, -1, 1)), "permuted": ((2, 0, 1), (1, -1, 1))}


def store_along(path, order, signs):
    """Store a file along other axes; the values by plain transposition and flips of the array."""
    image = sitk.ReadImage(str(path))
    axes = [2 - axis for axis in order][::-1]  # of arrays, (Z, Y, X)
    values = np.transpose(sitk.GetArrayFromImage(image), axes)[tuple(slice(None, None, sign) for sign in signs[::-1])]
    write_image(stored_along(image, order, signs, np.ascontiguousarray(values)), path)


def converted(dataset):
    return {path.relative_to(dataset): path for path in dataset.rglob("*.nii.gz")}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("file", ["t1", "flair", "seg"])
def test_a_file_stored_along_other_axes_converts_to_the_same_voxels(cohort, raw, turn, file):
    straight = convert([cohort], 1)
    store_along(cohort / CASES[1] / f"{CASES[1]}_{file}.nii.gz", *TURNS[turn])
    dataset = convert([cohort], 137)
    for name, path in converted(dataset).items():
        one, other = sitk.ReadImage(str(path)), sitk.ReadImage(str(straight / name))
        assert geometry_difference(one, other) is None
        np.testing.assert_array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(other))
    SimpleITKIO().read_images([str(dataset / "imagesTr" / f"{CASES[1]}_{channel:04d}.nii.gz") for channel in range(4)])
    entries = json.loads((dataset / "conversion.json").read_text())["cases"]
    (note,) = entries[CASES[1]]["repairs"]
    stored = {"flipped": "RAS", "permuted": "SRP"}[turn]
    assert f"_{file}.nii.gz had its axes stored as {stored} instead of LPS; it was turned" in note
    assert entries[CASES[0]]["repairs"] == []


def test_a_turned_image_with_another_background_and_a_spacing_off_by_a_hair(cohort, raw):
    values = values_of(cohort / CASES[1] / f"{CASES[1]}_t2.nii.gz")
    values[0] = values[:, 0] = values[:, :, 0] = values[-1] = -7
    replace_one(cohort / CASES[1], "t2", values, spacing=(1, 1, 1.0001))
    store_along(cohort / CASES[1] / f"{CASES[1]}_t2.nii.gz", *TURNS["permuted"])
    dataset = convert([cohort], 137)
    written = values_of(dataset / "imagesTr" / f"{CASES[1]}_0002.nii.gz")
    np.testing.assert_array_equal(written, np.where(values == -7, 0, values))
    SimpleITKIO().read_images([str(dataset / "imagesTr" / f"{CASES[1]}_{channel:04d}.nii.gz") for channel in range(4)])


def test_a_label_map_turned_against_its_4d_image(tmp_path, raw):
    values = np.random.default_rng(0).integers(1, 900, (4, *SHAPE), dtype=np.int16)
    task = tmp_path / "Task01_BrainTumour"
    write(task / "imagesTr" / "BRATS_001.nii.gz", values)
    labels = np.random.default_rng(1).integers(0, 4, SHAPE, dtype=np.uint8)
    write(task / "labelsTr" / "BRATS_001.nii.gz", labels)
    store_along(task / "labelsTr" / "BRATS_001.nii.gz", *TURNS["flipped"])
    dataset = convert([task], 1)
    np.testing.assert_array_equal(values_of(dataset / "labelsTr" / "BRATS_001.nii.gz"), labels)
    np.testing.assert_array_equal(values_of(dataset / "imagesTr" / "BRATS_001_0000.nii.gz"), values[1])


@pytest.mark.parametrize("turn", TURNS)
def test_predicted_as_if_stored_like_the_others_with_a_warning(cohort, model, tmp_path, capsys, turn):
    straight = tmp_path / "straight"
    shutil.copytree(cohort, straight)
    store_along(cohort / CASES[1] / f"{CASES[1]}_{MODALITIES[1]}.nii.gz", *TURNS[turn])
    for folder, out in ((straight, "expected"), (cohort, "out")):
        assert predict(folder, tmp_path / out, model) == 0
    for name in (f"{case}.nii.gz" for case in CASES):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()
    said = capsys.readouterr().out
    assert f"warning: turned: 1 case, {CASES[1]} ({CASES[1]}_t1ce.nii.gz had its axes stored as" in said
    assert "not co-registered" not in said


@pytest.mark.parametrize("file", ["t1", "seg"])
def test_a_header_that_contradicts_itself_is_not_turned(cohort, raw, file):
    """By its sform the voxels are mirrored, by its qform they lie as those of the other files."""
    path = cohort / CASES[1] / f"{CASES[1]}_{file}.nii.gz"
    stored = nibabel.load(path)
    mirrored = stored.affine @ np.diag([-1, 1, 1, 1])
    mirrored[0, 3] = stored.affine[0, 0] * (stored.shape[0] - 1) + stored.affine[0, 3]
    image = nibabel.Nifti1Image(np.asarray(stored.dataobj), stored.affine)
    image.set_qform(stored.affine, code=1)
    for code in (1, 0):
        image.set_sform(mirrored, code=code)
        nibabel.save(image, path)
        if code:
            with pytest.raises(
                InputError, match=f"_{file}.nii.gz: its sform says that its axes are RPS, and its qform LPS"
            ):
                convert([cohort], 137)
    assert convert([cohort], 137)  # without a sform that counts
