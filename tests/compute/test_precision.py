"""The forms that compute faster, against the plain ones; the probe; what is chosen where."""

import pytest
import torch
from torch import nn
from trainers import small, trainer

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.compute import precision

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_known():
    """Forget what was measured of this processor, before and after."""
    cached = (precision.bf16_is_faster, precision.bf16_slowdown, precision.bf16_gradients_are_right)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


@pytest.mark.parametrize(("seconds", "faster"), [((1.0, 0.5), True), ((1.0, 0.9), False), ((1.0, 2.0), False)])
def test_bf16_is_for_processors_that_are_faster_in_it(monkeypatch, seconds, faster):
    measured = dict(zip((torch.float32, torch.bfloat16), seconds, strict=True))
    monkeypatch.setattr(precision, "convolution_seconds", lambda dtype, size=24: measured[dtype])
    assert precision.bf16_is_faster() is faster


@pytest.mark.parametrize("small", [0.1, 0.5])
def test_a_processor_that_is_hopeless_in_bf16_is_not_measured_for_long(monkeypatch, small):
    """The larger a convolution is, the worse: one that other work has disturbed is followed by a larger one first."""
    sizes = []

    def seconds(dtype, size=24):
        sizes.append(size)
        return 1.0 if dtype is torch.bfloat16 else small if size == 10 else 0.01

    monkeypatch.setattr(precision, "convolution_seconds", seconds)
    assert precision.bf16_is_faster() is False and max(sizes) < 24
    assert precision.bf16_slowdown() == pytest.approx(10 if small == 0.1 else 100)


def test_the_probe_measures_this_processor():
    assert 0 < precision.convolution_seconds(torch.float32) < 10
    assert precision.bf16_is_faster() in (True, False)


@pytest.mark.parametrize(
    ("asked", "device", "dtype"),
    [("fp32", "cpu", None), ("bf16", "cpu", torch.bfloat16), ("auto", "cuda", torch.float16),
     ("bf16", "cuda", torch.bfloat16), ("fp32", "cuda", None), ("auto", "mps", None), ("auto", "cpu", None)],
)  # fmt: skip
def test_the_format_asked_for_is_taken(asked, device, dtype):
    assert precision.autocast_dtype(asked, torch.device(device)) == dtype


@pytest.mark.parametrize("at", [2, 4, 8])
@pytest.mark.parametrize(("error", "right"), [(0.0, True), (0.02, True), (0.2, False), (float("nan"), False)])
def test_one_wrong_size_is_enough(monkeypatch, at, error, right):
    monkeypatch.setattr(precision, "bf16_gradient_error", lambda size: error if size == at else 0.005)
    assert precision.bf16_gradients_are_right() is right


def test_the_gradient_that_is_probed_is_the_gradient():
    """By finite differences in double precision, of one weight; and rounding the inputs to bf16 alone is within 1 %."""
    generator = torch.Generator().manual_seed(0)
    x, weight, direction = (
        torch.randn(shape, generator=generator) for shape in ((2, 3, 4, 4, 4), (3, 3, 3, 3, 3), (2, 3, 4, 4, 4))
    )
    exact = precision._weight_gradient(x, weight, direction, torch.float32)
    step = torch.zeros(weight.shape, dtype=torch.double)
    step[1, 2, 0, 1, 2] = 1e-3
    ahead, behind = (nn.functional.conv3d(x.double(), weight + sign * step, padding=1) for sign in (1, -1))
    slope = ((ahead - behind) * direction).sum() / 2e-3
    assert exact[1, 2, 0, 1, 2].item() == pytest.approx(slope.item(), rel=1e-4)
    assert precision.bf16_gradient_error(4) < 0.01


def test_other_formats_are_refused():
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        precision.autocast_dtype("fp16", CPU)
    with pytest.raises(InputError, match="precision must be one of"):
        precision.autocast_dtype("int8", CPU)


def losses_of_20_steps(dataset, precision):
    torch.manual_seed(0)
    plans = small(dataset[0], recipe={"precision": precision, "initial_lr": 1e-2})
    made = trainer(dataset, plans)
    manager = made.configuration_manager
    made.network = made.build_network_architecture(made.plans_manager, manager, 4, 3, enable_deep_supervision=True)
    made.optimizer, _ = made.configure_optimizers()
    made.loss = made._build_loss()
    data = torch.randn(2, 4, 16, 16, 16)
    tumour = data[:, :1] + data[:, 1:2] > 0.5
    targets = [tumour.expand(2, 3, 16, 16, 16), tumour[..., ::2, ::2, ::2].expand(2, 3, 8, 8, 8)]
    return [made.train_step({"data": data, "target": targets})["loss"].item() for _ in range(20)]


def test_training_in_bf16_agrees_with_fp32(dataset):
    """bf16 keeps 8 bits of a number, so each activation is off by up to 0.4 %; losses are sums over thousands of them,
    in fp32, and steps add their differences up: 1 % of the loss over 20 steps holds, and one order more would not be
    training."""
    fp32, bf16 = (losses_of_20_steps(dataset, asked) for asked in ("fp32", "bf16"))
    assert fp32[-1] < 0.8 * fp32[0]
    assert bf16 == pytest.approx(fp32, rel=0.01)
    assert bf16 != fp32


class Broken(nn.Module):
    """A network whose compilation fails."""

    def __init__(self, network):
        super().__init__()
        self.network = torch.compile(network, backend=self.fail)

    def fail(self, *_):
        msg = "no compiler here"
        raise RuntimeError(msg)


def test_a_compilation_that_fails_is_left_out_with_one_line(dataset, capsys):
    made = trainer(dataset, small(dataset[0]))
    plain = nn.Conv3d(4, 3, 1)
    made.network = Broken(plain).network
    x = torch.randn(1, 4, 8, 8, 8)
    torch.testing.assert_close(made._forward(x), plain(x))
    made._forward(x)
    torch.testing.assert_close(made.network(x), plain(x))  # as nnU-Net's validation calls it
    torch.compiler.set_stance("default")
    assert capsys.readouterr().out.count("torch.compile failed and is left out") == 1


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(("variable", "compiled"), [(None, False), ("0", False), ("1", True), ("true", True)])
def test_it_compiles_where_asked(dataset, monkeypatch, device, variable, compiled):
    monkeypatch.delenv("nnUNet_compile", raising=False)
    if variable:
        monkeypatch.setenv("nnUNet_compile", variable)
    made = trainer(dataset)
    made.device = torch.device(device)
    assert made._do_i_compile() is compiled
