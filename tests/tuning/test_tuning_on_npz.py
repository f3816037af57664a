"""Tuning on the probabilities that nnU-Net's validation has saved."""

import json

import numpy as np
from test_tuning import count_predicted

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.training.checkpoint.checkpoint_content import weights_identity
from nnunet_resunet_ds.training.checkpoint.checkpoints import read_checkpoint
from nnunet_resunet_ds.training.fold.fold_record import add_to_record
from nnunet_resunet_ds.tuning.stored_case import read_stored_case
from postprocessing import PostprocessingConfig


def save_validation(model, ids, values_of):
    """Save probabilities by the number of each case, three cases a fold."""
    for number, case in enumerate(ids):
        folder = model / f"fold_{number // 3}" / "validation"
        folder.mkdir(exist_ok=True)
        np.savez_compressed(folder / f"{case}.npz", probabilities=values_of(number))


def test_tune_takes_what_nnunet_s_validation_left(trained, monkeypatch, capsys):
    model, ids = trained
    evaluated = count_predicted(monkeypatch)
    assert main(["tune", "-d", "137", "--npz"]) == 2
    assert "nnUNetv2_train" in capsys.readouterr().err
    save_validation(model, ids, lambda number: np.random.default_rng(number).random((3, 6, 7, 8), np.float32))
    assert main(["tune", "-d", "137", "--npz"]) == 0
    assert not evaluated
    add_to_record(model / "fold_1", weights="final", validated="of the best epoch")
    assert main(["tune", "-d", "137", "--npz"]) == 2
    assert "fold_1/validation: is of the weights of the best epoch, and the checkpoint" in capsys.readouterr().err
    own = weights_identity(read_checkpoint(model / "fold_1" / "checkpoint_final.pth")["network_weights"])
    add_to_record(model / "fold_1", weights=own, validated=own)
    assert main(["tune", "-d", "137", "--npz"]) == 0
    assert PostprocessingConfig.from_json(model / "postprocessing.json").averaging == "logits"


def test_npz_of_a_reader_that_turns_axes_are_tuned_on_the_axes_of_the_references(trained):
    """The references are stored LPS, and the model's reader gives RAS: X and Y run the other way."""
    model, ids = trained
    plans = json.loads((model / "plans.json").read_text())
    (model / "plans.json").write_text(json.dumps({**plans, "image_reader_writer": "NibabelIOWithReorient"}))
    values = np.random.default_rng(0).random((3, 6, 7, 8), np.float32) * 0.8 + 0.2  # so that nothing is cropped
    save_validation(model, ids, lambda _: values)
    assert main(["tune", "-d", "137", "--npz"]) == 0
    stored = read_stored_case(model / "tuning" / "fold_0_npz" / f"{ids[0]}.npz")
    np.testing.assert_array_equal(stored.probabilities, values[:, :, ::-1, ::-1])


def test_settings_of_what_cannot_be_a_trained_model_are_not_stored(trained, capsys):
    """Probabilities that lie elsewhere than the tumour: a whole-tumour Dice near 0."""
    model, ids = trained
    save_validation(model, ids, lambda _: np.full((3, 6, 7, 8), 0.1, np.float32))
    before = (model / "plans.json").read_bytes()
    assert main(["tune", "-d", "137", "--npz"]) == 2
    assert "reach a Dice of 0.0000 of WT" in capsys.readouterr().err
    assert (model / "plans.json").read_bytes() == before and not (model / "postprocessing.json").exists()
