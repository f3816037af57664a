"""Array space and file space: nnU-Net's own readers, predictor and writer are the oracle."""

import itertools
import json
import pickle
from copy import deepcopy

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from brats_files import values_of
from hypothesis import given, settings
from hypothesis import strategies as st
from models import predict, small_plans, write_model
from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.nnunet_properties import read_properties
from nnunet_resunet_ds.base.reader_space import READERS, Turn, reader_properties, turn_of_properties, turn_of_reader
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.inference import Predictor
from postprocessing.probabilities import probabilities_on_grid

SHAPE = (5, 6, 7)
TILT = 0.1
"""Radians: closest axes stay the same, and no direction is exactly along one."""


def oriented_grid(axes, signs, tilt=0.0, values=None):
    """An image of 3 × 2.5 × 2 mm with its axes along the world's, permuted and flipped, then turned a little."""
    values = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) if values is None else values
    image = sitk.GetImageFromArray(values)
    rotation = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    image.SetDirection((rotation @ np.eye(3)[:, axes] * signs).ravel().tolist())
    image.SetSpacing((3.0, 2.5, 2.0))
    image.SetOrigin((-11.0, 7.0, 5.0))
    return image


orientations = st.builds(
    oriented_grid,
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from((1, -1))] * 3),
    st.sampled_from((0.0, TILT)),
)


@settings(max_examples=96)
@given(orientations, st.sampled_from(READERS))
def test_every_reader_turns_as_nnunet_s_own(tmp_path_factory, image, reader):
    file = str(tmp_path_factory.mktemp("image") / "a_0000.nii.gz")
    sitk.WriteImage(image, file)
    stock, properties = recursive_find_reader_writer_by_name(reader)().read_images((file,))
    read = sitk.ReadImage(file)
    turn = turn_of_reader(reader, read)
    stored = sitk.GetArrayFromImage(read)
    np.testing.assert_array_equal(turn.to_reader(stored[None]), stock)
    np.testing.assert_array_equal(turn.to_file(stock)[0], stored)
    assert turn.reordered(read.GetSpacing()[::-1]) == pytest.approx(tuple(properties["spacing"]), abs=1e-5)
    assert turn_of_properties(properties) == turn == turn_of_properties(reader_properties(reader, read))


@settings(max_examples=48)
@given(orientations, st.sampled_from(READERS))
def test_what_is_noted_of_an_image_lets_nnunet_write_on_its_grid(tmp_path_factory, image, reader):
    folder = tmp_path_factory.mktemp("image")
    labels = np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.uint8)
    turned = turn_of_reader(reader, image).to_reader(labels)
    writer = recursive_find_reader_writer_by_name(reader)()
    writer.write_seg(turned, str(folder / "seg.nii.gz"), reader_properties(reader, image))
    written = sitk.ReadImage(str(folder / "seg.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(written), labels)
    for name in ("Spacing", "Origin", "Direction"):
        assert getattr(written, f"Get{name}")() == pytest.approx(getattr(image, f"Get{name}")(), abs=1e-4)


@given(st.permutations(range(3)), st.sets(st.integers(0, 2)))
def test_a_turn_can_be_undone(axes, flipped):
    turn, values = Turn(tuple(axes), tuple(flipped)), np.random.default_rng(0).random((2, *SHAPE))
    np.testing.assert_array_equal(turn.to_file(turn.to_reader(values)), values)


def test_a_reader_of_other_formats_is_refused():
    with pytest.raises(InputError, match="Tiff3DIO"):
        turn_of_reader("Tiff3DIO", oriented_grid((0, 1, 2), (1, 1, 1)))


# ---- the whole way ----

STORED = {"LPS": ((0, 1, 2), (1, 1, 1)), "RAS": ((0, 1, 2), (-1, -1, 1)), "SAL": ((2, 1, 0), (1, -1, 1))}
CASE = "case_1"


WAYS = (("LPS", [0, 1, 2]), ("RAS", [0, 1, 2]), ("SAL", [2, 0, 1]))
"""Orientation of the files, and ``transpose_forward`` of the plans."""


@pytest.fixture(params=itertools.product(READERS, WAYS), ids=str)
def turned_model(request, dataset, tmp_path):
    """A model of a reader, the images of a case that are stored in some orientation, and nnU-Net's predictor."""
    reader, (orientation, transpose) = request.param
    plans, dataset_json, _ = deepcopy(dataset)
    plans |= {"image_reader_writer": reader, "transpose_forward": transpose}
    plans["transpose_backward"] = np.argsort(transpose).tolist()
    folder = write_model(tmp_path / "model", small_plans(plans), dataset_json)
    images = tmp_path / "imagesTs"
    images.mkdir()
    random = np.random.default_rng(0)
    for channel in range(4):
        values = random.integers(1, 900, (17, 19, 21)).astype(np.int16)
        values[:, :2], values[:3] = 0, 0
        image = oriented_grid(*STORED[orientation], values=values)
        image.SetSpacing((1.0, 1.0, 1.0))
        sitk.WriteImage(image, str(images / f"{CASE}_{channel:04d}.nii.gz"))
    return folder, images


@pytest.fixture
def stock(turned_model, tmp_path):
    """What nnUNetv2_predict --save_probabilities leaves, made by its own predictor and writer."""
    folder, images = turned_model
    output = tmp_path / "stock"
    output.mkdir()
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(folder), (0,), "checkpoint_final.pth")
    reader = predictor.plans_manager.image_reader_writer_class()
    array, properties = reader.read_images([str(file) for file in sorted(images.iterdir())])
    predictor.predict_single_npy_array(array, properties, None, str(output / CASE), True)
    for name in ("plans.json", "dataset.json"):
        (output / name).write_text((folder / name).read_text())
    return output


@pytest.mark.parametrize("kept", ["plans.json and .pkl", ".pkl", "plans.json"])
def test_nnunet_s_thresholds_give_what_nnunetv2_predict_wrote(stock, tmp_path, kept):
    for name in ("plans.json", ".pkl"):
        if name not in kept:
            (stock / (name if name == "plans.json" else f"{CASE}.pkl")).unlink()
    assert main(["postprocess", "-i", str(stock), "-o", str(tmp_path / "again"), "--preset", "nnunet"]) == 0
    first, second = (sitk.ReadImage(str(folder / f"{CASE}.nii.gz")) for folder in (stock, tmp_path / "again"))
    expected = sitk.GetArrayFromImage(first)
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(sitk.GetArrayFromImage(second), expected)
    for name in ("Size", "Spacing", "Origin", "Direction"):
        assert getattr(second, f"Get{name}")() == getattr(first, f"Get{name}")()


def test_predict_gives_what_nnunetv2_predict_wrote(stock, turned_model, tmp_path):
    folder, images = turned_model
    out = tmp_path / "out"
    flags = ("--average", "logits", "--precision", "fp32", "--preset", "nnunet", "--save-probabilities")
    assert predict(images, out, folder, *flags) == 0
    expected = np.load(stock / f"{CASE}.npz")["probabilities"]
    found = np.load(out / f"{CASE}.npz")["probabilities"]
    decided = (np.abs(expected - 0.5) > 1e-2).all(0)
    # in far corners nnU-Net's weights are fp16 subnormals, and its sums are off
    assert np.mean(np.abs(found - expected) < 1e-3) > 0.85 and decided.mean() > 0.3
    run = json.loads((out / "run.json").read_text())
    turning = "WithReorient" in json.loads((folder / "plans.json").read_text())["image_reader_writer"]
    stored = sitk.ReadImage(str(next(images.iterdir()))).GetDirection()
    warned = any("another orientation" in warning for warning in run["cases"][CASE]["warnings"])
    assert warned == (not turning and stored != sitk.Image(1, 1, 1, sitk.sitkUInt8).GetDirection())
    labels, stock_labels = (values_of(place / f"{CASE}.nii.gz") for place in (out, stock))
    grid = sitk.ReadImage(str(stock / f"{CASE}.nii.gz"))
    on_grid = probabilities_on_grid(stock / f"{CASE}.npz", grid)
    decided = (np.abs(on_grid - 0.5) > 1e-2).all(0)
    assert np.mean(labels[decided] == stock_labels[decided]) > 0.98
    np.testing.assert_array_equal(
        Predictor.from_model_folder(folder, average="logits", precision="fp32", use_mirroring=False).predict_case(
            sorted(images.iterdir())
        )[1],
        probabilities_on_grid(out / f"{CASE}.npz", grid),
    )


# ---- the properties are read without running them ----


class Harmful:
    def __reduce__(self):
        return print, ("this ran",)


def test_properties_that_would_run_code_are_left_alone(tmp_path, capsys):
    file = tmp_path / "a.pkl"
    stuff = {"original_affine": np.eye(4), "reoriented_affine": np.eye(4)}
    file.write_bytes(pickle.dumps({"nibabel_stuff": stuff, "spacing": [np.float64(1)], "shape": (1, 2, 3)}))
    assert turn_of_properties(read_properties(file)) == Turn((0, 1, 2), ())
    file.write_bytes(pickle.dumps({"nibabel_stuff": stuff, "more": Harmful()}))
    assert read_properties(file) is None and capsys.readouterr().out == ""
    file.write_bytes(b"junk")
    assert read_properties(file) is None and read_properties(tmp_path / "gone.pkl") is None


def test_probabilities_of_another_image_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", probabilities=np.zeros((3, 7, 6, 5), np.float32))
    grid = oriented_grid(*STORED["LPS"])
    with pytest.raises(InputError, match="of another image"):
        probabilities_on_grid(tmp_path / "a.npz", grid)
    (tmp_path / "plans.json").write_text(json.dumps({"image_reader_writer": "NibabelIOWithReorient"}))
    np.testing.assert_array_equal(
        probabilities_on_grid(tmp_path / "a.npz", oriented_grid(*STORED["SAL"])), np.zeros((3, *SHAPE))
    )
    np.savez(tmp_path / "a.npz", probabilities=np.zeros((7, 6, 5), np.float32))
    with pytest.raises(InputError, match=r"must be \(R, Z, Y, X\)"):
        probabilities_on_grid(tmp_path / "a.npz", grid)
