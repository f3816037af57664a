"""Averaging the weights of a model: the check on validation, what is written, and what is said."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from brats_files import values_of
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnunet_resunet_ds.base.regions import REGIONS
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.training.checkpoint import checkpoint_content, checkpoint_names, checkpoints
from nnunet_resunet_ds.tuning import average_model

N_EPOCHS = 9
LAST = "checkpoint_averaged.pth"


def change(file: Path, **entries):
    torch.save({**torch.load(file), **entries}, file)


def with_bias(weights, bias):
    """Return weights whose every output is this much higher: 30 is tumour everywhere, and -30 is none."""
    return {name: v + bias if "seg_layers" in name and name.endswith("bias") else v for name, v in weights.items()}


def keep(fold: Path, *biases):
    """Keep epochs whose weights are the final ones with another bias; the last one is the last of the training."""
    final = checkpoints.read_checkpoint(fold / checkpoint_names.FINAL)
    (fold / checkpoint_names.KEPT).mkdir(exist_ok=True)
    for epoch, bias in enumerate(biases, N_EPOCHS - len(biases)):
        state = {**final, "network_weights": with_bias(final["network_weights"], bias), "current_epoch": epoch + 1}
        torch.save(state, fold / checkpoint_names.KEPT / f"epoch_{epoch:04d}.pth")


@pytest.fixture
def folds(trained):
    """Two folds that are trained to their end: (folder, folder)."""
    model, _ = trained
    found = [model / "fold_0", model / "fold_1"]
    for fold in found:
        change(fold / checkpoint_names.FINAL, current_epoch=N_EPOCHS)
    return found


def average(*flags):
    return main(["average-weights", "-d", "137", "--no-tta", *flags])


def weights_of(file):
    return checkpoints.read_checkpoint(file)["network_weights"]


def test_the_mean_of_the_final_weights_themselves_is_kept_bit_for_bit(folds, capsys):
    for fold in folds:
        keep(fold, 0, 0, 0)
    assert average() == 0
    assert "+0.0000" in capsys.readouterr().out
    for fold in folds:
        final, averaged = (weights_of(fold / name) for name in (checkpoint_names.FINAL, LAST))
        assert checkpoint_content.weights_identity(averaged) == checkpoint_content.weights_identity(final)


def test_only_the_last_are_averaged(folds, capsys):
    keep(folds[0], -90, 0, 2, 4)
    assert average("-f", "0", "--last", "3", "--keep-anyway", "--json") == 0
    answered = json.loads(capsys.readouterr().out)
    assert answered["written"] == [str(folds[0] / LAST)]
    assert [(of["fold"], of["epochs"], of["cases"]) for of in answered["folds"]] == [("0", [6, 7, 8], 3)]
    expected = with_bias(weights_of(folds[0] / checkpoint_names.FINAL), 2)
    found = checkpoints.read_checkpoint(folds[0] / LAST)
    for name, values in expected.items():
        torch.testing.assert_close(found["network_weights"][name], values)
    assert found["resunet_ds"]["averaged"]["epochs"] == [6, 7, 8]
    assert not (folds[1] / LAST).exists()


def dice_by_hand(labels, references):
    scores = []
    for file in sorted(labels.glob("*.nii.gz")):
        found, reference = values_of(file), values_of(references / file.name)
        for region in REGIONS:
            a, b = np.isin(found, region.tissues), np.isin(reference, region.tissues)
            scores.append(2 * (a & b).sum() / (a.sum() + b.sum()) if a.any() or b.any() else 1.0)
    return np.mean(scores)


def test_the_check_says_what_prediction_gives(trained, folds, nnunet_folders, tmp_path, capsys):
    """The Dice of either weights, from label maps that the command predict writes with them."""
    model, ids = trained
    raw = nnunet_folders / "nnUNet_raw" / model.parent.name
    for fold in folds:
        keep(fold, 0.1, 0.2)
    assert average("--keep-anyway") == 0
    said = capsys.readouterr().out
    for number, fold in enumerate(folds):
        images = tmp_path / f"images{number}"
        images.mkdir()
        for case in ids[3 * number : 3 * number + 3]:
            for file in (raw / "imagesTr").glob(f"{case}_*"):
                (images / file.name).symlink_to(file)
        averaged = checkpoints.read_checkpoint(fold / LAST)["resunet_ds"]["averaged"]["dice"]
        for name, key in ((checkpoint_names.FINAL, "final"), (LAST, "averaged")):
            output = tmp_path / f"{number}{key}"
            flags = ["-m", str(model), "-f", str(number), "-chk", name, "--no-tta"]
            assert main(["predict", "-i", str(images), "-o", str(output), *flags]) == 0
            assert averaged[key] == pytest.approx(dice_by_hand(output, raw / "labelsTr"))
            assert f"{averaged[key]:.4f}" in said


def test_weights_that_lose_are_not_written(folds, capsys):
    """The final weights see tumour everywhere, and the mean none: with every region there, its Dice is 0."""
    for fold in folds:
        change(fold / checkpoint_names.FINAL, network_weights=with_bias(weights_of(fold / checkpoint_names.FINAL), 30))
        keep(fold, -60, -60)
    assert average() == 0
    said = capsys.readouterr().out
    assert "the averaged weights lose" in said and "--keep-anyway" in said and "wrote" not in said
    assert not any((fold / LAST).exists() for fold in folds)
    assert average("--keep-anyway") == 0
    assert capsys.readouterr().out.count("wrote") == 2 and all((fold / LAST).exists() for fold in folds)


def test_it_is_decided_for_all_folds_at_once(folds, capsys):
    """One fold loses a little and the other gains much: both are written, so that an ensemble has both."""
    for fold, bias in zip(folds, (30, -30), strict=True):
        change(
            fold / checkpoint_names.FINAL, network_weights=with_bias(weights_of(fold / checkpoint_names.FINAL), bias)
        )
    keep(folds[0], 0.0)
    keep(folds[1], 60.0)
    assert average() == 0
    assert all((fold / LAST).exists() for fold in folds)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows if len(row) >= 5] == ["mean", "fold", "0", "1", "all"]


def test_a_second_run_predicts_nothing(folds, monkeypatch):
    for fold in folds:
        keep(fold, 0, 0)
    average()
    monkeypatch.setattr("nnunet_resunet_ds.tuning.cross_validation.predict_cases", None)
    assert average() == 0


def test_stock_prediction_reads_the_averaged_checkpoint(trained, folds):
    model, _ = trained
    keep(folds[0], 1, 3)
    average("-f", "0", "--keep-anyway")
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), (0,), LAST)
    loaded, expected = predictor.list_of_parameters[0], with_bias(weights_of(folds[0] / checkpoint_names.FINAL), 2)
    torch.testing.assert_close(dict(loaded), expected)


def test_prediction_says_which_folds_have_no_averaged_weights(trained, folds, caplog):
    model, _ = trained
    keep(folds[0], 0)
    average("-f", "0")
    caplog.clear()
    assert main(["tune", "-m", str(model), "--no-tta", "-chk", LAST]) in (0, 2)
    assert "fold 1 has no checkpoint_averaged.pth and is left out" in caplog.text


def test_a_fold_that_is_trained_again_meanwhile_is_left_alone(folds, monkeypatch, capsys):
    keep(folds[0], 0)
    original = average_model.predict_validation_with

    def slow(*arguments):
        change(folds[0] / checkpoint_names.FINAL, current_epoch=3)
        return original(*arguments)

    monkeypatch.setattr(average_model, "predict_validation_with", slow)
    assert average("-f", "0") == 2
    assert "checkpoint_final.pth: has changed since it was read" in capsys.readouterr().err
    assert not (folds[0] / LAST).exists()


def spoil_shape(fold):
    keep(fold, 0, 0)
    file = fold / checkpoint_names.KEPT / f"epoch_{N_EPOCHS - 1:04d}.pth"
    change(file, network_weights={**weights_of(file), "more": torch.zeros(1)})


def cut(fold):
    keep(fold, 0, 0)
    file = fold / checkpoint_names.KEPT / f"epoch_{N_EPOCHS - 1:04d}.pth"
    file.write_bytes(file.read_bytes()[:1000])


BAD = {
    "another network": (spoil_shape, [], "epoch_0008.pth: its weights are of another network"),
    "damaged weights": (cut, [], "epoch_0008.pth: damaged"),
    "fewer kept than asked": (lambda fold: keep(fold, 0, 0), ["--last", "5"], "give --last 2"),
    "last of none": (lambda fold: keep(fold, 0), ["--last", "0"], "--last must be"),
    "none kept": (lambda fold: None, [], "--keep-weights 5"),
    "not finished": (
        lambda fold: (fold / "checkpoint_final.pth").rename(fold / "checkpoint_latest.pth"),
        [],
        "no checkpoint_final.pth in fold 0",
    ),
    "two models": (lambda fold: None, ["-m", "a", "-m", "b"], "one model"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_averaged_is_named(trained, folds, capsys, kind, bad_input):
    model, _ = trained
    spoil, flags, named = BAD[kind]
    spoil(folds[0])
    before = json.loads((model / "plans.json").read_text())
    which = [] if "-m" in flags else ["-m", str(model)]
    assert main(["average-weights", *which, "-f", "0", "--no-tta", *flags]) == 2
    error = capsys.readouterr().err
    assert named in error and "Traceback" not in error
    bad_input("average-weights", kind, next(line for line in error.splitlines() if "error:" in line))
    assert not (folds[0] / LAST).exists() and json.loads((model / "plans.json").read_text()) == before
