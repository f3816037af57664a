"""The mean of weights: against closed forms and exact sums, and what cannot be averaged."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.training.checkpoint import checkpoint_content, checkpoints
from nnunet_resunet_ds.training.checkpoint.averaging import averaged_weights, mean_tensor, write_averaged
from nnunet_resunet_ds.training.fold.fold_record import read_record

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def tensors(values):
    return [torch.tensor(value, dtype=torch.float32) for value in values]


@given(hnp.arrays(np.float32, st.integers(1, 9), elements=FINITE), st.integers(1, 20))
def test_the_mean_of_equal_weights_is_bit_for_bit_the_same(values, times):
    mean = mean_tensor([torch.from_numpy(values)] * times)
    assert mean.numpy().tobytes() == values.tobytes()  # the sign of zero included


def test_the_mean_of_a_line_is_its_middle():
    line = [torch.full((2, 3), 0.1) + step * torch.full((2, 3), 0.25) for step in range(5)]
    torch.testing.assert_close(mean_tensor(line), line[2], rtol=1e-7, atol=0)


@given(st.lists(FINITE, min_size=1, max_size=9))
def test_the_mean_is_the_exact_one_rounded_twice_at_most(values):
    exact = sum(map(Fraction, values)) / len(values)
    found = Fraction(float(mean_tensor(tensors(values))))
    half_a_step = Fraction(float(np.spacing(np.float32(abs(float(exact)))))) / 2
    assert abs(found - exact) <= half_a_step + sum(abs(Fraction(value)) for value in values) / 2**49


def test_a_sum_in_fp32_would_have_lost_it():
    values = [1.0] + [2.0**-25] * 8
    assert mean_tensor(tensors(values)).double() == np.float32((1 + 2.0**-22) / 9)
    assert sum(np.float32(value) for value in values) == 1  # what fp32 adds up


def test_the_inputs_stay_as_they_are_and_types_too():
    values = [torch.tensor([1.0, 2.0], dtype=kind) for kind in (torch.float64, torch.float64)]
    mean_tensor(values).add_(1)
    assert values[0].tolist() == [1.0, 2.0]
    assert mean_tensor([value.half() for value in values]).dtype is torch.float16


def test_of_whole_numbers_the_last_is_taken():
    assert mean_tensor([torch.tensor([1, 5]), torch.tensor([2, 7])]).tolist() == [2, 7]


def kept_files(folder, *weights):
    folder.mkdir(exist_ok=True)
    for epoch, values in enumerate(weights):
        torch.save({"network_weights": values, "current_epoch": epoch + 1}, folder / f"epoch_{epoch:04d}.pth")
    return sorted(folder.iterdir())


NETWORK = {"layer.weight": torch.zeros(2, 3), "layer.bias": torch.zeros(2)}


def test_the_mean_of_two_networks_computes_as_a_linear_one_does(tmp_path):
    """A layer is linear in its weights, so the mean of weights gives the mean of outputs."""
    layers = [torch.nn.Linear(3, 2) for _ in range(4)]
    weights = [{f"layer.{name}": values for name, values in layer.state_dict().items()} for layer in layers]
    files = kept_files(tmp_path / "kept", *weights)
    mean = averaged_weights(files, NETWORK)
    x = torch.randn(5, 3)
    outputs = torch.stack([layer(x) for layer in layers]).mean(0)
    torch.testing.assert_close(x @ mean["layer.weight"].T + mean["layer.bias"], outputs)


def test_weights_of_another_network_are_named(tmp_path):
    files = kept_files(tmp_path / "kept", NETWORK, {**NETWORK, "layer.bias": torch.zeros(3)})
    with pytest.raises(InputError, match=r"epoch_0001\.pth: its weights are of another network \(layer\.bias is"):
        averaged_weights(files, NETWORK)
    files[1].write_bytes(files[1].read_bytes()[:100])
    with pytest.raises(InputError, match=r"epoch_0001\.pth: damaged"):
        averaged_weights(files, NETWORK)


def test_batch_norm_is_refused_by_name(tmp_path):
    norm = {f"norm.{name}": value for name, value in torch.nn.BatchNorm3d(2).state_dict().items()}
    with pytest.raises(InputError, match=r"batch norm \(norm\.running_mean\)"):
        averaged_weights(kept_files(tmp_path / "kept", norm), norm)
    instance = {f"norm.{name}": value for name, value in torch.nn.InstanceNorm3d(2, affine=True).state_dict().items()}
    assert averaged_weights(kept_files(tmp_path / "kept", instance), instance).keys() == instance.keys()


def test_the_averaged_checkpoint_is_the_final_one_with_other_weights(tmp_path):
    final = {
        "network_weights": NETWORK,
        "optimizer_state": {"state": {}},
        "trainer_name": "A",
        "resunet_ds": {"finished": True},
    }
    mean = {name: values + 1 for name, values in NETWORK.items()}
    path = write_averaged(final, mean, {"epochs": [3, 4]}, tmp_path)
    found = checkpoints.read_checkpoint(path)
    assert path.name == "checkpoint_averaged.pth"
    assert all(torch.equal(found["network_weights"][name], values) for name, values in mean.items())
    assert {**found, "network_weights": None} == {
        **final,
        "network_weights": None,
        "resunet_ds": {"finished": True, "averaged": {"epochs": [3, 4]}},
    }
    assert read_record(tmp_path) == {"averaged_weights": checkpoint_content.weights_identity(mean)}
