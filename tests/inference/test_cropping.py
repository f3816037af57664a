"""Images are cropped before nnU-Net crops them, which changes nothing but the time: compared with it, bit for bit."""

import numpy as np
import pytest
from models import small_plans, write_model
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

from nnunet_resunet_ds.inference import preprocessing
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.inference.preprocessing import preprocess

SHAPE = (19, 23, 21)


def images_in(box, *, holes=False, dtype=np.int16):
    """Four images (C, Z, Y, X), of which one reaches the ends of the box and the others lie within."""
    images = np.zeros((4, *SHAPE), dtype)
    random = np.random.default_rng(0)
    for channel, image in enumerate(images):
        inside = tuple(slice(part.start + (channel > 0), part.stop - (channel > 0)) for part in box)
        image[inside] = random.integers(1, 900, image[inside].shape)
        image[random.random(SHAPE) < 0.2] = 0  # holes, and gaps at the ends
    if holes:
        images[:, 8:11, 9:12, 9:12] = 0
    return images


BOXES = {
    "inside": (slice(3, 15), slice(4, 20), slice(2, 18)),
    "at one end": (slice(0, 15), slice(4, 23), slice(2, 18)),
    "next to the ends": (slice(1, 18), slice(1, 22), slice(1, 20)),
    "everywhere": (slice(0, 19), slice(0, 23), slice(0, 21)),
}


@pytest.mark.parametrize("mask", [True, False], ids=["masked norm", "whole norm"])
@pytest.mark.parametrize("forward", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("box", BOXES)
def test_it_is_nnunets_result_bit_for_bit(dataset, tmp_path, box, forward, mask):
    plans, dataset_json, _ = dataset
    plans = small_plans(plans) | {"transpose_forward": forward, "transpose_backward": np.argsort(forward).tolist()}
    plans["configurations"]["3d_fullres"]["use_mask_for_norm"] = [mask] * 4
    model = load_model(write_model(tmp_path / "model", plans, dataset_json))
    for holes, spacing, dtype in ((True, (1, 1, 1), np.int16), (False, (1, 1.2, 1), np.float64)):
        images = images_in(BOXES[box], holes=holes, dtype=dtype)
        found = preprocess(model, images, spacing)
        data, outside, properties = DefaultPreprocessor(verbose=False).run_case_npy(
            images, None, {"spacing": [float(value) for value in spacing]}, model.plans, model.configuration, {}
        )
        if model.has_salient_channel:
            data[:, outside[0] < 0] = 0
        assert found.data.numpy().tobytes() == np.ascontiguousarray(data, np.float32).tobytes()
        assert found.properties == properties


def test_nnunet_gets_no_more_than_the_box_and_a_voxel_around(model, monkeypatch):
    shapes = []
    run = DefaultPreprocessor.run_case_npy
    monkeypatch.setattr(
        DefaultPreprocessor,
        "run_case_npy",
        lambda self, data, *rest: shapes.append(data.shape) or run(self, data, *rest),
    )
    preprocess(load_model(model), images_in(BOXES["inside"]), (1, 1, 1))
    assert shapes == [(4, 14, 18, 18)]


def test_another_preprocessor_gets_everything(model, monkeypatch):
    shapes = []

    class Other(DefaultPreprocessor):
        def run_case_npy(self, data, *rest):
            shapes.append(data.shape)
            return super().run_case_npy(data, *rest)

    loaded = load_model(model)
    monkeypatch.setattr(type(loaded.configuration), "preprocessor_class", Other)
    preprocessing.preprocess(loaded, images_in(BOXES["inside"]), (1, 1, 1))
    assert shapes == [(4, *SHAPE)]
