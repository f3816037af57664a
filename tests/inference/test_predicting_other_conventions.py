"""Images of other conventions than BraTS': other spacings and orientations in one folder, and whole heads."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from brats_files import MODALITIES, values_of
from models import predict, small_plans, stock_plans, write_model
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.inference.preprocessing import preprocess

GRIDS = {
    "BraTS2021_00001": ((20, 22, 18), (1.0, 1.0, 1.0), "LPS"),
    "BraTS2021_00002": ((20, 22, 16), (0.86, 0.86, 1.5), "RAS"),
    "BraTS2021_00003": ((22, 20, 16), (0.86, 0.86, 1.5), "LPS"),
    "BraTS2021_00004": ((18, 24, 12), (0.9, 0.9, 2.0), "LAS"),
}
"""Case → size and spacing (X, Y, Z), and orientation."""
TILE = (20, 24, 24)
"""(Z, Y, X): each case is one tile, so that nnU-Net's weights of tiles do not matter."""


def head(shape, seed, background=0):
    """An ellipsoid (Z, Y, X) of random values from 300 on, in a background."""
    random, grid = np.random.default_rng(seed), np.indices(shape)
    distance = sum(((axis - size / 2 + 0.5) / (size / 2 - 2)) ** 2 for axis, size in zip(grid, shape, strict=True))
    noise = random.integers(1, 60, shape) if background else np.zeros(shape, np.int64)
    return np.where(distance < 1, random.integers(300, 900, shape), noise).astype(np.int16)


def write_cases(folder, *, background=0):
    """Write the cases of `GRIDS` as a BraTS 2021 download."""
    for seed, (case, (size, spacing, orientation)) in enumerate(GRIDS.items()):
        for channel, modality in enumerate(MODALITIES):
            image = sitk.GetImageFromArray(head(size[::-1], 10 * seed + channel, background))
            image.SetSpacing(spacing)
            image.SetOrigin((3.0, -200.0, 11.0))
            file = folder / case / f"{case}_{modality}.nii.gz"
            file.parent.mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(sitk.DICOMOrient(image, orientation), str(file))
    return folder


def image_of(folder, case):
    return sitk.ReadImage(str(folder / case / f"{case}_t1.nii.gz"))


def assert_on_the_grids_of_the_images(labels, folder):
    for case in GRIDS:
        written, image = sitk.ReadImage(str(labels / f"{case}.nii.gz")), image_of(folder, case)
        for name in ("Size", "Spacing", "Origin", "Direction"):
            assert getattr(written, f"Get{name}")() == pytest.approx(getattr(image, f"Get{name}")(), abs=1e-6)


def test_label_maps_of_a_mixed_folder_lie_on_the_grid_of_each_image(model, tmp_path):
    folder = write_cases(tmp_path / "raw")
    assert predict(folder, tmp_path / "out", model) == 0
    assert_on_the_grids_of_the_images(tmp_path / "out", folder)
    cases = json.loads((tmp_path / "out" / "run.json").read_text())["cases"]
    resampled = {case for case in GRIDS if any("resampled" in line for line in cases[case]["warnings"])}
    turned = {case for case in GRIDS if any("another orientation" in line for line in cases[case]["warnings"])}
    assert resampled == set(GRIDS) - {"BraTS2021_00001"} and turned == {"BraTS2021_00002", "BraTS2021_00004"}
    assert all(len(np.unique(values_of(tmp_path / "out" / f"{case}.nii.gz"))) > 1 for case in GRIDS)


@pytest.mark.parametrize("background", [0, 1], ids=["brains", "whole heads"])
def test_they_are_what_nnunet_predicts(dataset, tmp_path, background):
    """A network that asks for no brain mask, so that the background after resampling may be what nnU-Net makes it."""
    plans, dataset_json, _ = dataset
    plans = stock_plans(plans)
    plans["configurations"]["3d_fullres"] |= {"patch_size": list(TILE), "use_mask_for_norm": [not background] * 4}
    model = write_model(tmp_path / "model", plans, dataset_json, trainer="nnUNetTrainer")
    folder = write_cases(tmp_path / "raw", background=background)
    flags = ("--average", "logits", "--preset", "nnunet", "--precision", "fp32", "--save-probabilities")
    assert predict(folder, tmp_path / "out", model, *flags) == 0
    assert_on_the_grids_of_the_images(tmp_path / "out", folder)
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(model), (0,), "checkpoint_final.pth")
    for case in GRIDS:
        images = np.stack([values_of(folder / case / f"{case}_{m}.nii.gz") for m in MODALITIES]).astype(np.float32)
        spacing = list(image_of(folder, case).GetSpacing()[::-1])
        labels, probabilities = predictor.predict_single_npy_array(images, {"spacing": spacing}, None, None, True)
        ours = np.load(tmp_path / "out" / f"{case}.npz")["probabilities"]
        assert (np.abs(ours - probabilities) > 5e-3).mean() < 0.01  # at corners, where its weights run out of digits
        decided = (np.abs(probabilities - 0.5) > 5e-3).all(0)
        assert (values_of(tmp_path / "out" / f"{case}.nii.gz") == labels)[decided].mean() > 0.99


# ---- whole heads ----


@pytest.fixture
def of_heads(dataset, tmp_path):
    """A model as training plans it where no zero background marks the brain: no mask anywhere."""
    plans, dataset_json, _ = dataset
    plans = small_plans(plans)
    settings = plans["configurations"]["3d_fullres"]
    settings["use_mask_for_norm"] = [False] * 4
    settings["architecture"]["arch_kwargs"]["salient_channel"] = False
    return write_model(tmp_path / "heads", plans, dataset_json)


def test_whole_heads_are_odd_for_a_model_of_brains_alone(model, of_heads, tmp_path, capsys):
    folder = write_cases(tmp_path / "raw", background=1)
    for name, used in (("brains", model), ("heads", of_heads)):
        assert predict(folder, tmp_path / name, used) == 0
        assert_on_the_grids_of_the_images(tmp_path / name, folder)
        assert ("not skull-stripped?" in capsys.readouterr().out) is (name == "brains")


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.5, 0.86, 0.86)])
def test_nothing_is_cropped_off_a_head_or_set_to_zero_around_it(of_heads, spacing):
    """Bit for bit what nnU-Net makes of it."""
    model = load_model(of_heads)
    images = np.stack([head((16, 20, 18), seed, background=1) for seed in range(4)])
    found = preprocess(model, images, spacing)
    data, _, properties = DefaultPreprocessor(verbose=False).run_case_npy(
        images, None, {"spacing": list(spacing)}, model.plans, model.configuration, {}
    )
    assert found.data.numpy().tobytes() == np.ascontiguousarray(data, np.float32).tobytes()
    assert found.properties == properties
    assert properties["bbox_used_for_cropping"] == [[0, 16], [0, 20], [0, 18]]
    assert not (found.data == 0).all(0).any()
