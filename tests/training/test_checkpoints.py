"""Checkpoint files: whole or not there, and read without running anything."""

import copy
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import remove_half_written
from nnunet_resunet_ds.training.checkpoint import checkpoint_content, checkpoint_names, checkpoints, training_state

GOOD = {
    "network_weights": {"layer": torch.arange(6.0)},
    "current_epoch": 3,
    "logging": {"losses": [np.float64(0.5), np.float32(0.25), [np.float64(1)]], "dice": [float("nan")]},
    "init_args": {"device": torch.device("cpu"), "fold": 0, "plans": {"a": [1, None, True]}},
    "inference_allowed_mirroring_axes": (0, 1, 2),
}


NUMPY_FILES = [Path(__file__).parent / "data" / f"checkpoint_numpy{major}.pth" for major in (1, 2)]
"""Of one epoch of nnU-Net 2.8.1's own nnUNetTrainer_1epoch under NumPy 1.26.4 and 2.4.6, with two stages of 1 and 2
channels in the plans and patches of 8³ voxels: ``nnUNetv2_train 137 3d_fullres 0 -tr nnUNetTrainer_1epoch -device cpu``
on the dataset of `stock_runs`. The losses of so small a network are not a number."""


class Intruder:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_what_nnunet_keeps_comes_back(tmp_path):
    checkpoints.write_checkpoint(GOOD, tmp_path / "c.pth")
    found = checkpoints.read_checkpoint(tmp_path / "c.pth")
    assert torch.equal(found["network_weights"].pop("layer"), torch.arange(6.0))
    assert {**found, "logging": None} == {**GOOD, "network_weights": {}, "logging": None}
    assert found["logging"]["losses"] == GOOD["logging"]["losses"]
    assert [path.name for path in tmp_path.iterdir()] == ["c.pth"]


@pytest.mark.parametrize(("file", "core"), list(zip(NUMPY_FILES, ("core", "_core"), strict=True)))
def test_nnunets_checkpoints_of_every_numpy_come_back(file, core):
    assert f"numpy.{core}.multiarray\nscalar".encode() in file.read_bytes()
    found = checkpoints.read_checkpoint(file)
    assert found["trainer_name"] == "nnUNetTrainer_1epoch"
    expected = torch.load(file, weights_only=False)  # these two are ours, and hold no code
    np.testing.assert_equal(found["logging"], expected["logging"])
    assert isinstance(found["logging"]["val_losses"][0], np.float32)


def test_other_functions_of_numpy_are_refused(tmp_path):
    torch.save({**GOOD, "more": np.zeros(2)}, tmp_path / "c.pth")
    with pytest.raises(InputError, match=r"refused, it refers to numpy\._?core\.multiarray\._reconstruct"):
        checkpoints.read_checkpoint(tmp_path / "c.pth")


def test_code_is_refused_and_not_run(tmp_path):
    torch.save({**GOOD, "more": Intruder(tmp_path / "ran")}, tmp_path / "c.pth")
    with pytest.raises(InputError, match=r"c\.pth: refused, it refers to (posix|nt)\.mkdir, and could run code"):
        checkpoints.read_checkpoint(tmp_path / "c.pth")
    assert not (tmp_path / "ran").exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.data())
def test_a_damaged_file_is_an_input_error(tmp_path, data):
    path = tmp_path / "c.pth"
    torch.save(GOOD, path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        start = data.draw(st.integers(0, len(content) - 1))
        content[start : start + 40] = data.draw(st.binary(min_size=40, max_size=40))
    path.write_bytes(content)
    try:
        checkpoints.read_checkpoint(path)  # what was overwritten may have been padding
    except InputError as error:
        assert "\n" not in str(error) and str(path) in str(error)


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x02."], ids=["empty", "text", "pickle"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "c.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"c\.pth: damaged"):
        checkpoints.read_checkpoint(tmp_path / "c.pth")


def test_a_file_without_weights_is_no_checkpoint(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "c.pth")
    with pytest.raises(InputError, match="not a checkpoint of nnU-Net"):
        checkpoints.read_checkpoint(tmp_path / "c.pth")
    with pytest.raises(InputError, match="no such file"):
        checkpoints.read_checkpoint(tmp_path / "d.pth")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_leaves_the_earlier_one(tmp_path, monkeypatch):
    path = tmp_path / "c.pth"
    checkpoints.write_checkpoint(GOOD, path)
    monkeypatch.setattr(Path, "open", lambda _path, mode: open("/dev/full", mode))  # noqa: PTH123, SIM115
    with pytest.raises(OSError, match=r"could not be written .* earlier checkpoint is intact.*--c") as raised:
        checkpoints.write_checkpoint({**GOOD, "current_epoch": 4}, path, then="continue with --c")
    assert raised.value.filename == str(path)
    monkeypatch.undo()
    assert checkpoints.read_checkpoint(path)["current_epoch"] == 3
    assert [file.name for file in tmp_path.iterdir()] == ["c.pth"]


def test_the_furthest_that_can_be_read_is_taken(tmp_path):
    for name, epoch in ((checkpoint_names.LATEST, 5), (checkpoint_names.BEST_LOSS, 7), (checkpoint_names.BEST, 6)):
        torch.save({**GOOD, "current_epoch": epoch}, tmp_path / name)
    assert training_state.furthest_checkpoint(tmp_path).path.name == checkpoint_names.BEST_LOSS
    (tmp_path / checkpoint_names.BEST_LOSS).write_bytes(b"")
    found = training_state.furthest_checkpoint(tmp_path)
    assert found.path.name == checkpoint_names.BEST
    assert len(found.notes) == 1 and checkpoint_names.BEST_LOSS in found.notes[0]
    for name in (checkpoint_names.LATEST, checkpoint_names.BEST):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError) as raised:
        training_state.furthest_checkpoint(tmp_path)
    assert len(str(raised.value).splitlines()) == 3


def test_half_written_ones_are_removed_and_nothing_else(tmp_path):
    names = [".1234abcd.checkpoint_latest.pth", ".hidden", "checkpoint_latest.pth"]
    for name in names:
        (tmp_path / name).touch()
    remove_half_written(tmp_path, "*")
    assert sorted(path.name for path in tmp_path.iterdir()) == names[1:]


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({"a": torch.zeros(2)}, "it has no b"),
        ({"a": torch.zeros(3), "b": torch.zeros(1)}, r"a is \(3,\) instead of \(2,\)"),
        ({"a": torch.zeros(2), "b": torch.zeros(1), "c": torch.zeros(1)}, "it also has c"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, weights, told):
    network = {"a": torch.zeros(2), "b": torch.zeros(1)}
    checkpoint_content.check_weights_fit(tmp_path, dict(network), network)
    with pytest.raises(InputError, match=told):
        checkpoint_content.check_weights_fit(tmp_path, weights, network)


def test_a_training_goes_on_right_in_another_layout_than_it_was_saved_in():
    """Fused Adam goes through weights and state in the order of memory, each in its own."""

    def optimiser_of(layout):
        torch.manual_seed(0)
        weights = torch.randn(4, 3, 2, 2, 2).to(memory_format=layout).requires_grad_()
        return weights, torch.optim.Adam([weights], lr=0.1, fused=True)

    def step(weights, optimiser, seed):
        weights.grad = torch.empty_like(weights).copy_(torch.randn(4, 3, 2, 2, 2, generator=torch.manual_seed(seed)))
        optimiser.step()

    whole, saved = optimiser_of(torch.contiguous_format)
    step(whole, saved, 1)
    state, others = copy.deepcopy(saved.state_dict()), whole.detach().clone()
    step(whole, saved, 2)

    weights, optimiser = optimiser_of(torch.channels_last_3d)
    with torch.no_grad():
        weights.copy_(others)
    optimiser.load_state_dict(state)
    training_state._lay_out_as_weights(optimiser)
    step(weights, optimiser, 2)
    torch.testing.assert_close(weights, whole.detach(), rtol=0, atol=1e-6, check_stride=False)
