"""What `Predictor` computes, against nnU-Net's own predictor and against the networks run by hand."""

import weakref
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import small_plans, stock_plans, write_model
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import nn
from torch._dynamo.exc import TorchDynamoException

from nnunet_resunet_ds.inference import Predictor
from nnunet_resunet_ds.inference import sliding_window as sliding_window_module
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.inference.sliding_window import (
    PROBABILITIES,
    ForwardPass,
    SlidingWindow,
    WeightedMean,
    flips,
    gaussian,
    padded_shape,
    tiles,
)
from postprocessing import PostprocessingConfig, postprocess

CPU = torch.device("cpu")
PATCH = (16, 16, 16)


def brain(shape=(22, 26, 20), margin=3, seed=0):
    """Four images (C, Z, Y, X) with a background of 0 around."""
    images = np.random.default_rng(seed).integers(1, 900, (4, *shape)).astype(np.int16)
    images[:, :margin], images[:, :, shape[1] - margin :] = 0, 0
    return images


def stock_prediction(folder, images, folds, *, mirroring, step):
    predictor = nnUNetPredictor(
        step, use_mirroring=mirroring, perform_everything_on_device=False, device=CPU, allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(folder), folds, "checkpoint_final.pth")
    return predictor.predict_single_npy_array(images, {"spacing": [1, 1, 1]}, save_or_return_probabilities=True)


@pytest.mark.parametrize(("mirroring", "step"), [(False, 0.5), (True, 0.5), (False, 0.25)])
@pytest.mark.parametrize(("plans_of", "trainer"), [(small_plans, "ResUNetDSTrainer"), (stock_plans, "nnUNetTrainer")])
def test_averaging_logits_gives_what_nnunet_predicts(dataset, tmp_path, plans_of, trainer, mirroring, step):
    plans, dataset_json, _ = dataset
    folder = write_model(tmp_path / "model", plans_of(plans), dataset_json, folds=(0, 1), trainer=trainer)
    images = brain()
    stock_labels, stock = stock_prediction(folder, images, (0, 1), mirroring=mirroring, step=step)
    config = PostprocessingConfig.preset("nnunet")
    predictor = Predictor.from_model_folder(
        folder, average="logits", precision="fp32", use_mirroring=mirroring, tile_step=step, postprocessing=config
    )
    labels, probabilities = predictor.predict_case(images, spacing=(1, 1, 1))
    # In far corners nnU-Net's weights are fp16 subnormals, and its sums are off by up to a tenth there.
    weights = np.zeros(images.shape[1:], np.float32)
    inside = (slice(3, None), slice(None, -3), slice(None))
    for tile in tiles(weights[inside].shape, PATCH, step):
        weights[inside][tile] += gaussian(PATCH, CPU).numpy()
    counts = weights > 1e-4
    assert counts.sum() > 0.85 * weights[inside].size
    np.testing.assert_allclose(probabilities[:, counts], stock[:, counts], atol=1e-3)
    decided = counts & (np.abs(stock - 0.5) > 1e-3).all(0)
    np.testing.assert_array_equal(labels[decided], stock_labels[decided])
    assert probabilities.std() > 0.1  # the networks say something


def by_hand(folder, images, activation, fold=0):
    """One tile that is the whole volume, all eight flips."""
    model = load_model(folder, [fold])
    network = model.build_network()
    network.load_state_dict(model.weights[str(fold)])
    case = Predictor([model]).preprocess(images, (1, 1, 1))[0]
    outputs = []
    with torch.no_grad():
        for n in range(4):
            for axes in combinations((2, 3, 4), n):
                outputs.append(activation(network(case.data[None].flip(axes))).flip(axes)[0])
    return torch.stack(outputs).mean(0).numpy()


def test_probabilities_are_averaged_over_flips_and_folds(model):
    images = brain(PATCH, margin=0)
    _, found = Predictor.from_model_folder(model, precision="fp32").predict_case(images, (1, 1, 1))
    expected = np.mean([by_hand(model, images, torch.sigmoid, fold) for fold in (0, 1)], axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)  # D8
    _, found = Predictor.from_model_folder(model, precision="fp32", average="logits").predict_case(images, (1, 1, 1))
    of_logits = np.mean([by_hand(model, images, lambda logits: logits, fold) for fold in (0, 1)], axis=0)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-of_logits)), atol=1e-5)
    assert np.abs(found - expected).max() > 1e-3  # and the two are not the same


def test_an_ensemble_counts_each_model_alike(dataset, tmp_path):
    plans, dataset_json, _ = dataset
    one = write_model(tmp_path / "one", small_plans(plans), dataset_json, folds=(0, 1))
    other = write_model(tmp_path / "other", stock_plans(plans), dataset_json, folds=(2,), trainer="nnUNetTrainer")
    images = brain()
    alone = [Predictor.from_model_folder(folder).predict_case(images, (1, 1, 1))[1] for folder in (one, other)]
    together = Predictor([load_model(one), load_model(other)]).predict_case(images, (1, 1, 1))
    np.testing.assert_allclose(together[1], np.mean(alone, axis=0), atol=1e-5)
    np.testing.assert_array_equal(together[0], postprocess(together[1], PostprocessingConfig.paper()))


def test_resampled_background_is_zero_again(model, dataset):
    """D4 at 1.02 mm: as in training, and unlike nnU-Net's prediction."""
    images = brain((40, 26, 20))
    predictor = Predictor.from_model_folder(model)
    (case,) = predictor.preprocess(images, (1.02, 1, 1))
    assert case.is_resampled and not predictor.preprocess(images, (1, 1, 1))[0].is_resampled
    raw, mask, _ = (
        predictor.models[0]
        .configuration.preprocessor_class(verbose=False)
        .run_case_npy(
            images, None, {"spacing": [1.02, 1, 1]}, predictor.models[0].plans, predictor.models[0].configuration, {}
        )
    )
    outside = mask[0] < 0
    np.testing.assert_array_equal(case.data.numpy()[:, ~outside], raw[:, ~outside])
    assert not case.data[:, torch.from_numpy(outside)].any()
    labels, probabilities = predictor.predict_case(images, (1.02, 1, 1))
    assert labels.shape == images.shape[1:] and probabilities.shape == (3, *images.shape[1:])


def test_the_whole_volume_at_once_is_one_forward_pass_a_flip(model, monkeypatch):
    images = brain((22, 26, 20), margin=0)
    predictor = Predictor.from_model_folder(model, folds=[0], tiles="whole", use_mirroring=False, precision="fp32")
    monkeypatch.setattr(sliding_window_module, "gaussian", None)  # takes seconds at full size, and there is one tile
    cases = predictor.preprocess(images, (1, 1, 1))
    assert predictor.n_forward_passes(cases) == 1
    _, found = predictor.predict_case(images, (1, 1, 1))
    network = predictor.models[0].build_network()
    network.load_state_dict(predictor.models[0].weights["0"])
    padded = torch.zeros(1, 4, 24, 28, 20)  # multiples of 4, the product of the strides
    padded[:, :, 1:23, 1:27] = cases[0].data
    with torch.no_grad():
        expected = network(padded)[0, :, 1:23, 1:27].sigmoid()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@given(st.lists(st.integers(1, 300), min_size=3, max_size=3), st.lists(st.integers(0, 6), min_size=3, max_size=3))
def test_whole_volumes_are_padded_as_little_as_the_strides_allow(shape, halvings):
    strides = [[1, 1, 1], *[[2 if stage < n else 1 for n in halvings] for stage in range(6)]]
    padded = padded_shape(shape, (1, 1, 1), strides)
    for axis, size, n in zip(padded, shape, halvings, strict=True):
        assert axis % 2**n == 0 and size <= axis < size + 2**n


@given(st.lists(st.integers(16, 70), min_size=3, max_size=3), st.sampled_from([0.2, 0.25, 0.5, 1.0]))
def test_tiles_cover_every_voxel_and_stay_inside(shape, step):
    covered, found = np.zeros(shape, dtype=int), tiles(shape, PATCH, step)
    for tile in found:
        assert covered[tile].shape == PATCH
        covered[tile] += 1
    assert covered.min() >= 1
    for axis in range(3):
        starts = sorted({tile[axis].start for tile in found})
        assert max(np.diff(starts), default=0) <= np.ceil(step * 16)


def test_flips_are_every_subset_of_the_mirror_axes():
    assert flips((0, 1, 2)) == [(), (1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)]
    assert flips(()) == [()] and flips((1,)) == [(), (2,)]


# ---- number formats ----


def test_bf16_agrees_with_fp32(model):
    images = brain()
    exact, rounded = (
        Predictor.from_model_folder(model, precision=precision).predict_case(images, (1, 1, 1))[1]
        for precision in ("fp32", "bf16")
    )
    assert 0 < np.abs(exact - rounded).mean() < 5e-3
    assert np.abs(exact - rounded).max() < 0.05


def test_bf16_keeps_norms_in_fp32_and_takes_fp32_weights(model):
    loaded = load_model(model, [0])
    network = loaded.build_network()
    forward = ForwardPass(network, CPU, "bf16")
    forward.load(loaded.weights["0"])
    weights = {type(module).__name__: module.weight for module in network.modules() if hasattr(module, "weight")}
    assert weights["Conv3d"].dtype == weights["ConvTranspose3d"].dtype == torch.bfloat16
    assert weights["InstanceNorm3d"].dtype == torch.float32
    for name, values in network.state_dict().items():
        torch.testing.assert_close(values.float(), loaded.weights["0"][name], rtol=2**-8, atol=0)


# ---- memory ----


class Hungry(nn.Module):
    """Adds one region; runs out of memory where more inputs come at once than fit."""

    def __init__(self, fits, error=torch.OutOfMemoryError, said="too many"):
        super().__init__()
        self.fits, self.error, self.said, self.seen = fits, error, said, []

    def forward(self, x):
        activation = x + 1
        self.activation = weakref.ref(activation)
        if len(x) > self.fits:
            raise self.error(self.said)
        self.seen.append(len(x))
        return x[:, :1] * 2


def test_batches_are_halved_until_they_fit(caplog):
    network = Hungry(fits=2)
    forward = ForwardPass(network, CPU, "fp32", batch_size=8)
    inputs = torch.arange(8 * 8.0).reshape(8, 1, 2, 2, 2)
    assert torch.equal(forward(inputs), inputs * 2)
    assert network.seen == [2, 2, 2, 2] and forward.batch_size == 2
    assert [line[-11:] for line in caplog.messages] == ["4 at a time", "2 at a time"]
    with pytest.raises(torch.OutOfMemoryError):
        ForwardPass(Hungry(fits=0), CPU, "fp32", batch_size=2)(inputs)


NO_ENGINE = {"error": RuntimeError, "said": "GET was unable to find an engine to execute this computation"}
"""What cuDNN says where the memory that it works in does not fit."""


def test_what_cudnn_says_of_memory_halves_batches_too():
    network = Hungry(fits=2, **NO_ENGINE)
    forward = ForwardPass(network, CPU, "bf16", batch_size=8)
    forward(torch.ones(8, 1, 2, 2, 2))
    assert network.seen == [2, 2, 2, 2] and forward.dtype is torch.bfloat16
    network.fits = 0
    with pytest.raises(torch.OutOfMemoryError):
        forward(torch.ones(1, 1, 2, 2, 2))


@pytest.mark.parametrize("said", ["CUDA error: out of memory", "cuBLAS error: CUBLAS_STATUS_ALLOC_FAILED when calling"])
def test_what_other_libraries_say_of_memory_is_not_taken_for_a_format_that_is_not_there(said):
    network = Hungry(fits=2, error=RuntimeError, said=said)
    forward = ForwardPass(network, CPU, "bf16", batch_size=8)
    forward(torch.ones(8, 1, 2, 2, 2))
    assert network.seen == [2, 2, 2, 2] and forward.dtype is torch.bfloat16
    with pytest.raises(torch.OutOfMemoryError, match=said):
        ForwardPass(Hungry(fits=0, error=RuntimeError, said=said), CPU, "bf16")(torch.ones(1, 1, 2, 2, 2))


def test_where_one_input_finds_no_engine_at_first_a_plainer_form_is_taken(caplog):
    forward = ForwardPass(Hungry(fits=0, **NO_ENGINE), CPU, "bf16", batch_size=1)
    with pytest.raises(RuntimeError, match="unable to find an engine"):
        forward(torch.ones(1, 1, 2, 2, 2))
    assert forward.dtype is None and "going on in fp32" in caplog.text


def test_the_average_moves_to_the_cpu_where_memory_runs_out(monkeypatch, caplog):
    """As on a card that holds one tile but not the average beside it."""
    freed, network = [], Hungry(fits=0)

    class OnACard(WeightedMean):
        device = torch.device("cuda")

        def to_cpu(self):
            network.fits = 1
            super().to_cpu()

        def add(self, tile, values, weights):
            self.sum[(slice(None), *tile)] += values * weights
            self.weight[tile] += weights

    monkeypatch.setattr(sliding_window_module, "WeightedMean", OnACard)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append(network.activation() is None))
    window = SlidingWindow(ForwardPass(network, CPU, "fp32"), 1, (4, 4, 4), flips((0, 1, 2)), PROBABILITIES)
    volume = torch.randn(1, 6, 4, 5)
    torch.testing.assert_close(window.mean_over_folds([{}], volume, lambda _: None), (volume * 2).sigmoid())
    assert len(caplog.messages) == 1 and "kept on the CPU" in caplog.text
    assert freed == [True]  # what the failed pass held is given up before


# ---- compiling ----


@pytest.fixture
def compiled(monkeypatch):
    """Count calls of torch.compile, and leave networks as they are."""
    calls = []
    monkeypatch.setattr(torch, "compile", lambda network, **_: calls.append(network) or network)
    return calls


@pytest.mark.parametrize(("wish", "expected"), [(None, 0), ("1", 1), ("0", 0)])
def test_compiling_is_for_those_who_ask(monkeypatch, compiled, wish, expected):
    monkeypatch.delenv("nnUNet_compile", raising=False)
    if wish:
        monkeypatch.setenv("nnUNet_compile", wish)
    ForwardPass(Hungry(1), CPU, "fp32")
    assert len(compiled) == expected


def test_a_failing_compiler_is_left_out_with_a_line(monkeypatch, caplog):
    def no_compiler(_):
        raise TorchDynamoException("no C++ compiler\nand a page of advice")

    monkeypatch.setattr(torch, "compile", lambda network, **_: no_compiler)
    monkeypatch.setenv("nnUNet_compile", "1")
    forward = ForwardPass(Hungry(1), CPU, "fp32")
    x = torch.ones(1, 1, 2, 2, 2)
    for _ in range(4):
        assert torch.equal(forward(x), x * 2)
    assert caplog.messages == ["torch.compile failed and is left out from here on: no C++ compiler"]


def test_whole_volumes_are_never_compiled_for(model, monkeypatch, compiled):
    monkeypatch.setenv("nnUNet_compile", "1")
    Predictor.from_model_folder(model, tiles="whole").predict_case(brain(), (1, 1, 1))
    assert not compiled
    Predictor.from_model_folder(model).predict_case(brain(), (1, 1, 1))
    assert len(compiled) == 1
