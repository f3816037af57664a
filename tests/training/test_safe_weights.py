"""Weights as safetensors: the same network in 16 bits, and nothing that could run code."""

import json

import numpy as np
import pytest
import torch
from brats_files import CASES, values_of
from models import predict, small_plans, write_model
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.training.checkpoint import safe_weights
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import SAFE_FINAL
from nnunet_resunet_ds.training.checkpoint.checkpoints import read_checkpoint
from nnunet_resunet_ds.training.checkpoint.safe_weights import read_safe_weights, write_safe_weights

CASES_OF_FOLD = {"train": ["a", "b"], "val": ["c"]}


@pytest.fixture
def packed(model, tmp_path):
    """The model with weights as safetensors alone, and the same weights rounded to 16 bits as checkpoints."""
    safe, rounded = tmp_path / "safe", tmp_path / "rounded"
    for folder in (safe, rounded):
        folder.mkdir()
        for name in ("plans.json", "dataset.json"):
            (folder / name).write_bytes((model / name).read_bytes())
    for fold in ("fold_0", "fold_1"):
        checkpoint = read_checkpoint(model / fold / "checkpoint_final.pth") | {"resunet_ds": {"cases": CASES_OF_FOLD}}
        (safe / fold).mkdir()
        (rounded / fold).mkdir()
        write_safe_weights(checkpoint, safe / fold / SAFE_FINAL, half=True)
        halved = {name: values.half().float() for name, values in checkpoint["network_weights"].items()}
        torch.save({**checkpoint, "network_weights": halved}, rounded / fold / "checkpoint_final.pth")
    return safe, rounded


def test_a_full_disk_is_an_error_of_the_disk(model, tmp_path, monkeypatch):
    def full(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safe_weights, "save_file", full)
    with pytest.raises(OSError, match=r"No space left on device .* make space on this disk") as raised:
        write_safe_weights(read_checkpoint(model / "fold_0" / "checkpoint_final.pth"), tmp_path / "w", half=True)
    assert raised.value.filename == str(tmp_path / "w")


def test_they_are_those_of_the_checkpoint_in_16_bits(packed):
    safe, rounded = (load_model(folder) for folder in packed)
    assert safe.checkpoint == SAFE_FINAL and safe.identities == rounded.identities
    assert (safe.trainer_name, safe.mirror_axes, set(safe.weights)) == ("ResUNetDSTrainer", (0, 1, 2), {"0", "1"})
    assert safe.training_cases == {"a", "b"}
    for name, values in rounded.weights["0"].items():
        assert safe.weights["0"][name].dtype == torch.float32
        torch.testing.assert_close(safe.weights["0"][name], values, rtol=0, atol=0)


def test_each_weight_is_stored_once(packed, dataset):
    """The decoder holds the encoder, so that a state dict names its weights twice."""
    network = load_model(packed[0]).build_network()
    stored = load_file(packed[0] / "fold_0" / SAFE_FINAL)
    assert {values.dtype for values in stored.values()} == {torch.float16}
    assert sum(values.numel() for values in stored.values()) == sum(values.numel() for values in network.parameters())
    assert len(network.state_dict()) > len(stored)


def test_they_predict_the_same_label_maps(packed, cohort, tmp_path):
    for folder in packed:
        assert predict(cohort, tmp_path / "out" / folder.name, folder) == 0
    for case in CASES:
        one, other = (values_of(tmp_path / "out" / folder.name / f"{case}.nii.gz") for folder in packed)
        np.testing.assert_array_equal(one, other)


def test_other_files_are_refused(tmp_path):
    other = tmp_path / "other.safetensors"
    with pytest.raises(InputError, match="no such file"):
        read_safe_weights(other)
    save_file({"weight": torch.zeros(2)}, other)
    with pytest.raises(InputError, match="damaged, or not weights of this package"):
        read_checkpoint(other)
    save_file({"weight": torch.zeros(2)}, other, {"nnunet": json.dumps({"aliases": {"other": "missing"}})})
    with pytest.raises(InputError, match=r"other\.safetensors: damaged"):
        read_safe_weights(other)


def test_a_model_of_checkpoints_is_read_from_these(model, packed):
    (model / "fold_0" / SAFE_FINAL).write_bytes((packed[0] / "fold_0" / SAFE_FINAL).read_bytes())
    assert load_model(model).checkpoint == "checkpoint_final.pth"


def test_weights_of_another_network_are_refused(packed, dataset, tmp_path):
    plans, dataset_json, _ = dataset
    wide = write_model(tmp_path / "wide", small_plans(plans, (32, 16, 16)), dataset_json)
    (packed[0] / "plans.json").write_bytes((wide / "plans.json").read_bytes())
    changed = json.loads((wide / "plans.json").read_text())
    changed["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 8, 16]
    (packed[0] / "plans.json").write_text(json.dumps(changed))
    with pytest.raises(InputError, match="its weights are of another network"):
        load_model(packed[0])


@pytest.mark.parametrize("axes", [None, (), (0, 2)])
def test_mirror_axes_come_back_as_they_were(model, tmp_path, axes):
    """Stock nnU-Net takes None for no mirroring, and fails with an empty tuple."""
    checkpoint = read_checkpoint(model / "fold_0" / "checkpoint_final.pth") | {"inference_allowed_mirroring_axes": axes}
    write_safe_weights(checkpoint, tmp_path / SAFE_FINAL, half=False)
    assert read_safe_weights(tmp_path / SAFE_FINAL)["inference_allowed_mirroring_axes"] == axes


def test_counters_stay_whole_and_what_16_bits_do_not_hold_is_refused(model, tmp_path):
    checkpoint = read_checkpoint(model / "fold_0" / "checkpoint_final.pth")
    checkpoint["network_weights"] = {"counter": torch.tensor(2**40), "weight": torch.tensor([1.5])}
    write_safe_weights(checkpoint, tmp_path / SAFE_FINAL, half=True)
    counter = read_safe_weights(tmp_path / SAFE_FINAL)["network_weights"]["counter"]
    assert counter.dtype == torch.int64 and counter == 2**40
    checkpoint["network_weights"]["weight"] = torch.tensor([1e6])
    with pytest.raises(ValueError, match="weight has values that 16 bits do not hold"):
        write_safe_weights(checkpoint, tmp_path / SAFE_FINAL, half=True)
