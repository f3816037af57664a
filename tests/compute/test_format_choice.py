"""What is chosen for scripted times; what is timed; and that it is timed once."""

import copy
import math
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from models import small_plans
from torch import nn
from torch.nn import functional as F
from trainers import small, trainer

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.compute import format_choice, kept_choices
from nnunet_resunet_ds.compute.format_choice import (
    InputSize,
    format_seconds,
    prediction_dtype,
    prediction_runs,
    training_dtype,
    training_runs,
)
from nnunet_resunet_ds.inference import Predictor
from nnunet_resunet_ds.network import ResUNetDS, res_unet_ds
from nnunet_resunet_ds.plans import PAPER_PATCH_SIZE, fitted_strides, res_unet_ds_architecture

CPU = torch.device("cpu")
SIZE = InputSize((2, 4, 16, 16, 16), [[1, 1, 1], [2, 2, 2], [2, 2, 2]])


class Machine:
    """A processor of which everything is known: what a format takes, and what it was asked."""

    def __init__(self):
        self.seconds = {"fp32": 1.0, "bf16": 0.5}
        self.slowdown, self.gradients_are_right = 0.5, True
        self.timed = []

    def format_seconds(self, runs):
        self.timed.append(list(runs))
        return self.seconds


@pytest.fixture
def processor(monkeypatch, tmp_path):
    """A processor with an empty cache folder."""
    made = Machine()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept_choices, "_known", {})
    monkeypatch.setattr(format_choice, "bf16_slowdown", lambda: made.slowdown)
    monkeypatch.setattr(format_choice, "bf16_gradients_are_right", lambda: made.gradients_are_right)
    monkeypatch.setattr(format_choice, "format_seconds", made.format_seconds)
    return made


def network(features=(4, 8, 12)):
    torch.manual_seed(0)
    return ResUNetDS(4, 3, **res_unet_ds_architecture((16, 16, 16), features)["arch_kwargs"])


BOTH = pytest.mark.parametrize("choose", [training_dtype, prediction_dtype])


@BOTH
@pytest.mark.parametrize(
    ("fp32", "bf16", "dtype"),
    [(1.0, 0.5, torch.bfloat16), (1.2, 1.0, torch.bfloat16), (1.19, 1.0, None), (1.0, 1.3, None), (1.0, 100.0, None)],
)
def test_bf16_is_taken_where_what_runs_is_faster_in_it(processor, choose, fp32, bf16, dtype):
    processor.seconds = {"fp32": fp32, "bf16": bf16}
    chosen, line = choose("auto", network(), CPU, SIZE)
    assert chosen == dtype
    assert f"takes {fp32:.3g} s in fp32 and {bf16:.3g} s in bf16" in line and "2×4×16×16×16" in line
    assert str(kept_choices.choices_file()) in line


@BOTH
def test_where_a_small_convolution_is_hopeless_no_network_is_timed(processor, choose):
    processor.slowdown = 98.0
    chosen, line = choose("auto", network(), CPU, SIZE)
    assert chosen is None and processor.timed == [] and "98 times as long in bf16" in line


@BOTH
@pytest.mark.parametrize(
    ("asked", "device", "dtype"),
    [("fp32", "cpu", None), ("bf16", "cpu", torch.bfloat16), ("auto", "cuda", torch.float16), ("auto", "mps", None)],
)
def test_what_is_asked_for_and_what_a_gpu_takes_needs_no_measurement(processor, choose, asked, device, dtype):
    chosen, line = choose(asked, network(), torch.device(device), SIZE)
    assert (chosen, processor.timed) == (dtype, []) and line == f"Convolutions in {dtype or torch.float32}."


@pytest.mark.parametrize(
    ("right", "asked", "device", "dtype"),
    [(True, "bf16", "cpu", torch.bfloat16), (False, "bf16", "cpu", None), (False, "auto", "cpu", None),
     (False, "fp32", "cpu", None), (False, "bf16", "cuda", torch.bfloat16), (False, "auto", "cuda", torch.float16)],
)  # fmt: skip
def test_training_is_in_fp32_where_a_cpu_gets_gradients_wrong(processor, right, asked, device, dtype):
    processor.gradients_are_right = right
    taken, line = training_dtype(asked, network(), torch.device(device), SIZE)
    assert taken == dtype
    assert ("gets gradients wrong" in line) is (not right and device == "cpu" and asked != "fp32")


def test_prediction_needs_no_gradients(processor):
    processor.gradients_are_right = False
    assert prediction_dtype("auto", network(), CPU, SIZE)[0] is torch.bfloat16


def test_without_a_size_nothing_is_timed(processor):
    assert prediction_dtype("auto", network(), CPU, None)[0] is None and processor.timed == []


@BOTH
def test_other_formats_are_refused(processor, choose):
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        choose("fp16", network(), CPU, SIZE)


def test_nothing_trains_in_fp16_where_its_loss_is_not_scaled(processor):
    mps = torch.device("mps")
    with pytest.raises(InputError, match="fp16 trains on CUDA alone"):
        training_dtype("fp16", network(), mps, SIZE)
    assert prediction_dtype("fp16", network(), mps, SIZE)[0] is torch.float16


def test_a_network_that_cannot_compute_in_bf16_stays_in_fp32(processor, monkeypatch):
    monkeypatch.setattr(format_choice, "format_seconds", format_seconds)

    class InFp32(nn.Conv3d):
        def forward(self, x):
            if torch.is_autocast_enabled("cpu"):
                msg = "not implemented for 'BFloat16'\nand much more"
                raise RuntimeError(msg)
            return super().forward(x)

    chosen, line = training_dtype("auto", InFp32(4, 3, 1), CPU, SIZE)
    assert chosen is None and "cannot be timed (not implemented for 'BFloat16')" in line


# ---- how often it is measured ----


def test_it_is_measured_once_for_a_network_and_purpose(processor, monkeypatch):
    told = []
    for _ in range(2):
        for features in ((4, 8, 12), (4, 8, 16)):
            training_dtype("auto", network(features), CPU, SIZE, told.append)
            prediction_dtype("auto", network(features), CPU, SIZE, told.append)
        monkeypatch.setattr(kept_choices, "_known", {})  # as another process
    assert len(processor.timed) == len(told) == 4 and all("once for this machine" in line for line in told)


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setattr(format_choice, "machine", lambda device: "another processor"),
        lambda patch: patch.setattr(format_choice, "processor_abilities", lambda: "with AMX"),
        lambda patch: patch.setattr(torch, "get_num_threads", lambda: 96),
        lambda patch: patch.setattr(torch, "__version__", "3.0"),
        lambda patch: patch.setenv("RESUNET_DS_WITHOUT", "instance-norm"),
        lambda patch: patch.setattr(format_choice, "SAMPLE_VOXELS", 1024),
    ],
)
def test_another_machine_version_or_size_is_measured_again(processor, monkeypatch, change):
    training_dtype("auto", network(), CPU, SIZE)
    change(monkeypatch)
    processor.seconds = {"fp32": 1.0, "bf16": 2.0}
    assert training_dtype("auto", network(), CPU, SIZE)[0] is None
    assert len(processor.timed) == 2


def test_what_another_process_chose_while_this_one_waited_is_taken(processor, monkeypatch):
    turn = kept_choices.measuring_in_turn()

    class Turn:
        def __enter__(self):
            monkeypatch.setattr(format_choice, "measuring_in_turn", lambda: turn)
            training_dtype("auto", network(), CPU, SIZE)  # the other process
            monkeypatch.setattr(kept_choices, "_known", {})

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(format_choice, "measuring_in_turn", Turn)
    assert training_dtype("auto", network(), CPU, SIZE)[0] is torch.bfloat16
    assert len(processor.timed) == 1


def test_measuring_draws_no_random_numbers_and_leaves_the_network_alone(processor, monkeypatch):
    monkeypatch.setattr(
        format_choice, "format_seconds", lambda runs: {name: 1.0 + (run() is None) for name, run in runs.items()}
    )
    made = network()
    before, drawn = copy.deepcopy(made.state_dict()), torch.get_rng_state()
    training_dtype("auto", made, CPU, SIZE)
    prediction_dtype("auto", made, CPU, SIZE)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(made.state_dict()[name], value) for name, value in before.items())
    assert made.training and all(parameter.grad is None for parameter in made.parameters())


def uninitialised(dataset, plans):
    """A trainer for which nnU-Net has preprocessed a case."""
    folder = dataset[2] / "nnUNetPlans_3d_fullres"
    folder.mkdir()
    (folder / "case_a.b2nd").touch()
    return trainer(dataset, plans)


def test_a_trainer_chooses_by_its_network_and_batch(processor, dataset):
    made = uninitialised(dataset, small(dataset[0]))
    assert made.dtype is None and processor.timed == []
    made.initialize()
    assert made.dtype is torch.bfloat16 and len(processor.timed) == 1
    log = Path(made.log_file).read_text()
    assert "Timing a training step of this network, 2×4×16×16×16" in log and "Convolutions in torch.bfloat16: a" in log


def test_a_predictor_chooses_by_its_network_and_tile(processor, model):
    assert Predictor.from_model_folder(model).hardware["precision"] == "bfloat16"
    assert len(processor.timed) == 1  # of two folds
    processor.seconds = {"fp32": 1.0, "bf16": 1.0}
    assert Predictor.from_model_folder(model).hardware["precision"] == "bfloat16"  # kept
    kept_choices.choices_file().unlink()
    kept_choices._known.clear()
    assert Predictor.from_model_folder(model).hardware["precision"] == "float32"


# ---- the clock ----


def scripted(durations):
    """Runs that take these seconds, one after the other; and the clock."""
    now, ran = [0.0], []

    def run(name):
        ran.append(name)
        now[0] += durations[name].pop(0) if len(durations[name]) > 1 else durations[name][0]

    return {name: lambda name=name: run(name) for name in durations}, lambda: now[0], ran


def test_formats_take_turns_and_the_least_time_counts():
    runs, clock, ran = scripted({"fp32": [9.0, 1.5, 1.25, 2.0], "bf16": [9.0, 0.5, 0.75, 0.25]})
    assert format_seconds(runs, clock) == {"fp32": 1.25, "bf16": 0.25}
    assert ran == ["fp32", "bf16"] * 4  # one round to warm up; after 6.25 s no fourth


def test_a_quick_network_is_run_some_times():
    runs, clock, ran = scripted({"fp32": [0.01], "bf16": [0.02]})
    format_seconds(runs, clock)
    assert ran.count("bf16") == 1 + format_choice.MAX_ROUNDS


def test_a_slow_network_is_run_twice():
    runs, clock, ran = scripted({"fp32": [10.0], "bf16": [4.0]})
    assert format_seconds(runs, clock) == {"fp32": 10.0, "bf16": 4.0} and ran.count("bf16") == 2


def test_a_network_that_is_hopeless_in_bf16_is_run_once():
    runs, clock, ran = scripted({"fp32": [1.0], "bf16": [3.5]})
    assert format_seconds(runs, clock) == {"fp32": 1.0, "bf16": 3.5} and ran == ["fp32", "bf16"]


# ---- what is timed ----


def test_the_sample_of_the_papers_network_is_a_sixteenth_of_its_batch():
    size = InputSize((2, 4, *PAPER_PATCH_SIZE), fitted_strides(PAPER_PATCH_SIZE))
    assert size.sample() == (1, 4, 128, 64, 64)  # 64³ would leave one voxel at the deepest stage


@pytest.mark.parametrize(
    ("shape", "strides", "sample"),
    [
        ((2, 4, 48, 48, 48), [[1] * 3, [2] * 3], (2, 4, 48, 48, 48)),  # few voxels
        ((9, 1, 64, 64, 64), [[1] * 3, [2] * 3], (2, 1, 64, 64, 64)),
        ((2, 4, 128, 128, 128), None, (1, 4, 128, 128, 128)),  # a transformer of one size
        ((1, 4, 96, 160, 112), [[1] * 3, *[[2] * 3] * 4], (1, 4, 48, 80, 112)),  # 56 is no multiple of 16
    ],
)
def test_the_sample_of_other_inputs(shape, strides, sample):
    assert InputSize(shape, strides).sample() == sample


AXES = st.one_of(st.integers(2, 200), st.sampled_from([64, 128, 192, 256]))


@given(st.integers(1, 4), st.tuples(AXES, AXES, AXES), st.integers(2, 7))
@example(2, (128, 128, 128), 7)
def test_the_network_takes_every_sample(n_images, axes, max_stages):
    strides = fitted_strides(axes, max_stages)
    total = [math.prod(of_axis) for of_axis in zip(*strides, strict=True)]
    images, channels, *sample = InputSize((n_images, 4, *axes), strides).sample()
    assert 1 <= images <= n_images and channels == 4
    assert all(size % stride == axis % stride == 0 for size, axis, stride in zip(sample, axes, total, strict=True))
    assert math.prod(size // stride for size, stride in zip(sample, total, strict=True)) >= 2
    shrunk = math.prod(sample) < math.prod(axes)
    assert not shrunk or math.prod(sample) > format_choice.SAMPLE_VOXELS / 2


def test_a_step_computes_all_gradients_in_the_format_that_is_timed():
    """Against autocast by hand; a forward pass alone, or fp32 twice, would be quicker and say nothing."""
    seen = []

    class Watched(nn.Conv3d):
        def forward(self, x):
            y = super().forward(x)
            y.register_hook(lambda gradient: seen.append((y.dtype, gradient.dtype)))
            return y

    runs = training_runs(nn.Sequential(Watched(4, 3, 3, padding=1)), (2, 4, 8, 8, 8))
    runs["fp32"]()
    runs["bf16"]()
    assert seen == [(torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16)]


def test_every_head_takes_part_in_the_step(monkeypatch):
    touched, convolve = [], res_unet_ds.convolve

    def watched(head, x):
        output = convolve(head, x)
        output.register_hook(lambda gradient: touched.append(output.shape[2]))
        return output

    monkeypatch.setattr(res_unet_ds, "convolve", watched)
    training_runs(network(), (1, 4, 16, 16, 16))["fp32"]()
    assert sorted(touched) == [8, 16]


def test_prediction_is_timed_with_converted_weights(monkeypatch):
    dtypes = []
    convolve = F.conv3d

    def watched(x, weight, *arguments, **settings):
        dtypes.append((x.dtype, weight.dtype, torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled()))
        return convolve(x, weight, *arguments, **settings)

    monkeypatch.setattr(F, "conv3d", watched)
    runs = prediction_runs(network(), (1, 4, 16, 16, 16))
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        dtypes.clear()
        runs[name]()
        assert set(dtypes) == {(dtype, dtype, False, True)}


def test_a_network_that_is_not_converted_is_timed_under_autocast():
    seen = []

    class Watched(nn.Conv3d):
        def forward(self, x):
            seen.append(torch.is_autocast_enabled("cpu"))
            return super().forward(x)

    layers = nn.Sequential(Watched(4, 4, 1), nn.BatchNorm3d(4))  # a norm that prediction does not convert around
    for run in prediction_runs(layers, (1, 4, 8, 8, 8)).values():
        run()
    assert seen == [False, True]


def test_the_trainers_size_is_that_of_its_batches(dataset):
    made = uninitialised(dataset, small_plans(dataset[0]))
    made.initialize()
    assert made.input_size.shape == (made.batch_size, 4, *made.configuration_manager.patch_size)
