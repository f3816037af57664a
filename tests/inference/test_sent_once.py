"""What prediction sends to a device and takes back, and how often: counted, without a GPU."""

import threading

import pytest
import torch
from models import small_plans, write_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.inference import pipeline, sliding_window
from nnunet_resunet_ds.inference.sliding_window import ForwardPass, SlidingWindow, flips
from postprocessing.config import PROBABILITIES

CPU, META = torch.device("cpu"), torch.device("meta")
PATCH = (16, 16, 16)


class Sent(TorchDispatchMode):
    """Notes the bytes of what goes from one device to another."""

    def __init__(self):
        super().__init__()
        self.sent = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if operation.overloadpacket.__name__ in ("_to_copy", "to", "copy_") and isinstance(args[0], torch.Tensor):
            source = args[1] if operation.overloadpacket.__name__ == "copy_" else args[0]
            if source.device != result.device:
                self.sent.append(source.nbytes)
        return result


def window_on(device, network=None):
    forward = ForwardPass(network or nn.Conv3d(4, 3, 1), device, "fp32", batch_size=8)
    return SlidingWindow(forward, 3, PATCH, flips((0, 1, 2)), PROBABILITIES)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("n_folds", [1, 3])
def test_a_case_is_sent_once_and_comes_back_once(monkeypatch, n_folds, mode):
    """The meta device computes nothing, and what goes there can be counted."""
    returned = []
    monkeypatch.setattr(sliding_window, "gaussian", lambda size, device: torch.ones(*size, device=device))
    monkeypatch.setattr(sliding_window, "to_host", lambda values: returned.append(tuple(values.shape)) or values)
    volume = torch.zeros(4, 40, 24, 16)
    window = window_on(META)
    of_folds = weights(n_folds)
    with mode(), Sent() as work:
        window.mean_over_folds(of_folds, volume, lambda _: None)
    assert [size for size in work.sent if size > 1000] == [volume.nbytes]
    assert returned == [(3, 40, 24, 16)]


def weights(n_folds):
    """Of the convolution, another object for each fold."""
    return [nn.Conv3d(4, 3, 1).state_dict() for _ in range(n_folds)]


def test_a_volume_that_does_not_fit_stays_where_it_is():
    """Its tiles are sent then, one by one; the result is the same."""
    window, volume, of_folds = window_on(CPU), torch.randn(4, 20, 17, 14), weights(1)
    expected = window.mean_over_folds(of_folds, volume, lambda _: None)
    assert expected.shape == (3, 20, 17, 14)

    class DoesNotFit(torch.Tensor):
        def to(self, *_, **kwargs):
            if "non_blocking" in kwargs:
                raise torch.OutOfMemoryError("too large")
            return self.as_subclass(torch.Tensor)

    found = window.mean_over_folds(of_folds, volume.as_subclass(DoesNotFit), lambda _: None)
    assert torch.equal(found.as_subclass(torch.Tensor), expected)


def test_weights_that_are_there_are_not_copied_again(monkeypatch):
    network, loaded = nn.Conv3d(4, 3, 1), []
    load = network.load_state_dict
    monkeypatch.setattr(network, "load_state_dict", lambda values: loaded.append(values) or load(values))
    window, (one, two) = window_on(CPU, network), weights(2)
    volume = torch.randn(4, 16, 16, 16)
    first, second = (window.mean_over_folds([one], volume, lambda _: None) for _ in range(2))
    assert len(loaded) == 1 and torch.equal(first, second)
    window.mean_over_folds([one, two], volume, lambda _: None)
    again = window.mean_over_folds([one], volume, lambda _: None)
    assert len(loaded) == 3 and torch.equal(again, first)


# ---- number formats, by trying ----


class OnlyUnderAutocast(nn.Module):
    """Multiplies with fp32 numbers that are no weights: in bf16 only autocast can do that."""

    def __init__(self, fails_under_autocast=False):
        super().__init__()
        self.convolution = nn.Conv3d(4, 3, 1)
        self.register_buffer("matrix", torch.eye(4))
        self.fails_under_autocast, self.seen = fails_under_autocast, []

    def forward(self, x):
        self.seen.append(x.dtype)
        if self.fails_under_autocast and torch.is_autocast_enabled("cpu"):
            raise RuntimeError("no such kernel\nand a page of advice")
        return self.convolution(x) + 0 * (x @ self.matrix)[:, :3]


def test_layers_that_cannot_take_converted_weights_run_under_autocast_with_unrounded_ones():
    torch.manual_seed(0)
    network = OnlyUnderAutocast()
    values = {f"convolution.{name}": value for name, value in nn.Conv3d(4, 3, 1).state_dict().items()} | {
        "matrix": torch.eye(4)
    }
    forward = ForwardPass(network, CPU, "bf16")
    with torch.inference_mode():
        forward.load(values)
        x = torch.randn(1, 4, 4, 4, 4)
        outputs = forward(x)
        forward(x)
    assert network.seen == [torch.bfloat16, torch.float32, torch.float32] and forward.dtype == torch.bfloat16
    assert all(torch.equal(network.state_dict()[name], values[name]) for name in values)
    exact = nn.functional.conv3d(x, values["convolution.weight"], values["convolution.bias"])
    assert 0 < (outputs - exact).abs().max() < 0.05


def test_where_nothing_computes_in_the_format_it_is_fp32_with_one_line(caplog):
    network = OnlyUnderAutocast(fails_under_autocast=True)
    forward = ForwardPass(network, CPU, "bf16")
    x = torch.randn(1, 4, 4, 4, 4)
    for _ in range(3):
        outputs = forward(x)
    exact = nn.functional.conv3d(x, network.convolution.weight, network.convolution.bias)
    assert forward.dtype is None and (outputs - exact).abs().max() < 0.05
    assert [line for line in caplog.messages if "going on in fp32" in line] == [
        "no torch.bfloat16 on cpu (no such kernel): going on in fp32"
    ]


def test_a_fault_is_not_taken_for_a_format_that_cannot_be():
    class Faulty(nn.Module):
        def forward(self, x):
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        ForwardPass(Faulty(), CPU, "bf16")(torch.zeros(1, 4, 4, 4, 4))


# ---- cases at once ----


@pytest.mark.parametrize(
    ("device", "cores", "threads"), [("cpu", 64, 1), ("cuda", 2, 1), ("cuda", 8, 2), ("cuda", 64, 3)]
)
def test_more_cases_are_read_at_once_where_a_gpu_leaves_the_cores_free(monkeypatch, device, cores, threads):
    monkeypatch.setattr(pipeline, "n_cores", lambda: cores)
    assert pipeline.n_threads_for(torch.device(device)) == threads


def test_cases_read_and_written_at_once_are_those_of_one_after_the_other(dataset, cohort, tmp_path, monkeypatch):
    plans, dataset_json, _ = dataset
    folder = write_model(tmp_path / "small", small_plans(plans), dataset_json, folds=(0,))
    words = ["predict", "-i", str(cohort), "-m", str(folder), "--no-tta", "--precision", "fp32", "-device", "cpu", "-o"]
    assert main([*words, str(tmp_path / "one")]) == 0
    meeting, read = threading.Barrier(2, timeout=60), pipeline._Pipeline._read
    monkeypatch.setattr(pipeline, "n_threads_for", lambda device: 2)
    monkeypatch.setattr(pipeline._Pipeline, "_read", lambda self, case: (meeting.wait(), read(self, case))[1])
    assert main([*words, str(tmp_path / "two")]) == 0  # fails unless two are read at once
    maps = [sorted((tmp_path / name).glob("*.nii.gz")) for name in ("one", "two")]
    assert [path.name for path in maps[0]] == [path.name for path in maps[1]] and len(maps[0]) == 2
    assert [path.read_bytes() for path in maps[0]] == [path.read_bytes() for path in maps[1]]
