"""Which folds ``resunet-ds train`` has left to train, and what it refuses before it begins."""

import json
import os

import pytest
import torch
from preprocessed import write_preprocessed, write_split

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.cluster.fold_trainings import Trainings, unfinished_folds
from nnunet_resunet_ds.training.checks.preprocessed_data import preprocessed_cases
from nnunet_resunet_ds.training.fold.fold_record import add_to_record

FINAL = "checkpoint_final.pth"


@pytest.fixture
def folds(dataset):
    """Two folds of six cases, to be trained on the command line: (trainings, folder of the fold, its cases)."""
    _, _, preprocessed = dataset
    ids = [f"case{number}" for number in range(6)]
    (preprocessed / "nnUNetPlans.json").write_text(json.dumps(dataset[0]))
    write_preprocessed(preprocessed, ids)
    write_split(preprocessed, ids[:3], ids[3:], cases=ids)
    trainings = Trainings(dataset_id=137, device="cpu")
    fold = trainings.model_folder / "fold_0"
    fold.mkdir(parents=True)
    return trainings, fold, ids


def finish(fold, trained_on, held_out, weights="aaaa", validated="aaaa"):
    (fold / "validation").mkdir(exist_ok=True)
    (fold / FINAL).touch()
    (fold / "validation" / "summary.json").touch()
    add_to_record(fold, cases={"train": list(trained_on), "val": list(held_out)}, weights=weights, validated=validated)


def names(jobs):
    return [job.name for job in jobs]


def test_a_fold_of_another_split_is_not_called_done(folds, capsys):
    trainings, fold, ids = folds
    finish(fold, ids[3:], ids[:3])
    assert names(unfinished_folds(trainings, [0, 1])) == ["fold 1"]
    write_split(trainings.preprocessed, ids[::2], ids[1::2], cases=ids)
    assert main(["train", "-d", "137", "-device", "cpu", "--dry-run"]) == 2
    assert f"{fold}: was trained on other cases than fold 0" in capsys.readouterr().err


@pytest.mark.parametrize(("has_gpu", "device"), [(True, "cuda"), (False, "cpu")])
def test_without_a_gpu_the_cpu_is_taken(folds, monkeypatch, capsys, has_gpu, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert main(["train", "-d", "137", "-f", "1", "--dry-run"]) == 0
    assert f"-device {device}" in capsys.readouterr().out


def test_a_fold_that_is_left_out_is_named_and_another_recipe_too(folds, dataset, caplog):
    trainings, fold, ids = folds
    finish(fold, ids[3:], ids[:3])
    trained = {**dataset[0], "resunet_ds": {"epochs": 20, "seed": 4}}
    (fold.parent / "plans.json").write_text(json.dumps(trained))
    with caplog.at_level("INFO"):
        assert names(unfinished_folds(trainings, [0, 1])) == ["fold 1"]
    assert "fold 0: is trained and validated, and left out" in caplog.messages
    (note,) = (line for line in caplog.messages if "another recipe" in line)
    assert "(epochs 20, now 300)" in note


def test_a_validation_of_earlier_weights_does_not_count(folds):
    """A training again that was killed in its validation leaves the summary of the one before."""
    trainings, fold, ids = folds
    finish(fold, ids[3:], ids[:3], weights="bbbb", validated="aaaa")
    assert names(unfinished_folds(trainings, [0])) == ["fold 0"]
    add_to_record(fold, validated="bbbb")
    assert names(unfinished_folds(trainings, [0])) == []


def test_of_trainers_that_note_no_weights_the_later_file_counts(folds):
    trainings, fold, _ = folds
    (fold / "validation").mkdir()
    (fold / "validation" / "summary.json").touch()
    (fold / FINAL).touch()
    os.utime(fold / "validation" / "summary.json", (1, 1))
    assert names(unfinished_folds(trainings, [0])) == ["fold 0"]
    (fold / "validation" / "summary.json").touch()
    assert names(unfinished_folds(trainings, [0])) == []


def test_files_that_macos_adds_are_no_cases(folds, monkeypatch):
    trainings, _, ids = folds
    data = trainings.preprocessed / "nnUNetPlans_3d_fullres"
    (data / f"._{ids[0]}.pkl").touch()
    assert preprocessed_cases(data) == ids
    assert names(unfinished_folds(trainings, [0])) == ["fold 0"]


@pytest.mark.parametrize("content", ["[]", "{}", '{"configurations": []}'])
def test_files_that_are_no_plans_are_named(folds, capsys, content):
    trainings, _, _ = folds
    (trainings.preprocessed / "nnUNetPlans.json").write_text(content)
    assert main(["train", "-d", "137", "-device", "cpu", "--dry-run"]) == 2
    assert "nnUNetPlans.json: not nnU-Net plans" in capsys.readouterr().err


def test_plans_that_are_not_there_are_told_with_those_that_are(folds, capsys):
    assert main(["train", "-d", "137", "-p", "Mine", "-device", "cpu", "--dry-run"]) == 2
    assert capsys.readouterr().err.strip().endswith("Mine.json: no such plans; there are nnUNetPlans")


def test_a_training_has_a_gpu_at_least(folds, capsys):
    assert main(["train", "-d", "137", "-num_gpus", "0", "--dry-run"]) == 2
    assert "-num_gpus" in capsys.readouterr().err
