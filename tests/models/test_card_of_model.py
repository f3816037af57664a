"""The card of a packed model: whose scores stand on it, and of which folds."""

import json
import os
import shutil

import pytest
from brats_files import CASES
from models import predict
from test_package import elsewhere, packed

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.models.card import DICE, EVALUATION, VALIDATION, read_card


def test_the_card_has_the_validation_of_nnunet(own, tmp_path, monkeypatch):
    packed(own, tmp_path)
    installed = elsewhere(tmp_path, monkeypatch)
    assert main(["install", str(tmp_path / "model.zip")]) == 0
    card = read_card(installed)
    assert card.dice == {"WT": 0.8, "TC": 0.7, "ET": 0.5} and list(card.scores[DICE]) == [VALIDATION]
    assert [(row["fold"], row["n_cases"]) for row in card.folds] == [("0", 1), ("1", 1)]


def test_or_what_evaluate_measured(own, cohort, tmp_path, monkeypatch):
    perfect = shutil.copytree(cohort, tmp_path / "perfect")
    assert main(["evaluate", "-ref", str(cohort), "-pred", str(perfect), "-o", str(tmp_path / "metrics.json")]) == 0
    packed(own, tmp_path, "--metrics", str(tmp_path / "metrics.json"))
    installed = elsewhere(tmp_path, monkeypatch)
    assert main(["install", str(tmp_path / "model.zip")]) == 0
    assert read_card(installed).scores[DICE][EVALUATION]["WT"].mean == 1


@pytest.fixture
def measured(own, cohort, tmp_path):
    """What evaluate wrote about predictions of the model itself: its path and a function that changes it."""
    path = tmp_path / "metrics.json"
    assert predict(cohort, tmp_path / "predicted", own) == 0
    assert main(["evaluate", "-ref", str(cohort), "-pred", str(tmp_path / "predicted"), "-o", str(path)]) == 0

    def change(**entries):
        path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))

    return path, change


def test_metrics_of_other_weights_are_refused(own, tmp_path, measured, capsys):
    path, change = measured
    assert set(json.loads(path.read_text())["made_with"]) == set(load_model(own).identities.values())
    packed(own, tmp_path, "--metrics", str(path))
    change(made_with=["of another model"])
    command = ["package", "-m", str(own), "-o", str(tmp_path / "other.zip"), "--metrics", str(path)]
    assert main(command) == 2
    assert "is of label maps that other weights made" in capsys.readouterr().err


def test_metrics_of_some_folds_are_not_those_of_all(own, tmp_path, measured, capsys):
    path, change = measured
    of_first = load_model(own).identities["0"]
    change(made_with=[of_first])
    command = ["package", "-m", str(own), "-o", str(tmp_path / "other.zip"), "--metrics", str(path)]
    assert main(command) == 2
    assert "that fold 0 alone made, and folds 0, 1 are to be shared" in capsys.readouterr().err
    assert main([*command, "-f", "0"]) == 0


def test_metrics_of_unknown_weights_are_so_on_the_card(own, tmp_path, measured, monkeypatch, capsys):
    path, change = measured
    change(made_with=None)
    packed(own, tmp_path, "--metrics", str(path))
    assert "nothing notes which weights made its label maps" in capsys.readouterr().err
    installed = elsewhere(tmp_path, monkeypatch)
    assert main(["install", str(tmp_path / "model.zip")]) == 0
    assert "its maker says that it made these label maps" in read_card(installed).how_measured


def test_metrics_of_training_cases_are_refused(own, tmp_path, measured, capsys):
    path, change = measured
    cases = json.loads(path.read_text())["cases"]
    change(cases={**cases, "secret_1": cases[CASES[0]]})
    command = ["package", "-m", str(own), "-o", str(tmp_path / "other.zip"), "--metrics", str(path)]
    assert main(command) == 2
    assert "1 of its 3 cases, such as secret_1, are training cases of the model" in capsys.readouterr().err


def test_a_model_that_is_packed_again_keeps_its_card(own, tmp_path, monkeypatch):
    archive = packed(own, tmp_path, "--licence", "CC BY 4.0", "--cite", "A. Nobody 2026", "--limit", "Adults.")
    installed = elsewhere(tmp_path, monkeypatch)
    assert main(["install", str(archive)]) == 0
    first = read_card(installed)
    packed(installed, tmp_path, "--cite", "B. Nobody 2027")
    assert main(["install", str(archive), "--overwrite"]) == 0
    (source,) = read_card(installed).sources
    assert (source.licence, source.citations) == ("CC BY 4.0", ("A. Nobody 2026", "B. Nobody 2027"))
    assert read_card(installed).scores == first.scores and read_card(installed).limits == first.limits


def test_some_folds_packed_again_do_not_claim_what_all_reach(own, tmp_path, monkeypatch, capsys):
    archive = packed(own, tmp_path, "--licence", "CC BY 4.0")
    installed = elsewhere(tmp_path, monkeypatch)
    assert main(["install", str(archive)]) == 0
    packed(installed, tmp_path, "-f", "1")
    assert "fold 1 alone of: ResUNetDSTrainer, folds 0, 1" in capsys.readouterr().out
    assert main(["install", str(archive), "--overwrite"]) == 0
    card = read_card(installed)
    assert list(card.weights) == ["1"] and card.dice == {} and [row["fold"] for row in card.folds] == ["1"]
    assert card.sources[0].licence == "CC BY 4.0" and "not of fold 1 alone" in card.how_measured


def test_the_card_of_folds_that_were_removed_is_not_taken(own, tmp_path, monkeypatch, capsys):
    archive = packed(own, tmp_path)
    installed = elsewhere(tmp_path, monkeypatch)
    assert main(["install", str(archive)]) == 0
    shutil.rmtree(installed / "fold_0")
    capsys.readouterr()
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[-1]["dice"] == {}


def test_a_card_is_not_taken_for_weights_that_came_after_it(own, tmp_path, monkeypatch, capsys):
    archive = packed(own, tmp_path)
    installed = elsewhere(tmp_path, monkeypatch)
    assert main(["install", str(archive)]) == 0
    capsys.readouterr()
    for expected in ({"WT": 0.8, "TC": 0.7, "ET": 0.5}, {}):
        assert main(["models", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)[-1]["dice"] == expected
        later = (installed / "model_card.json").stat().st_mtime_ns + 10**9
        os.utime(installed / "fold_0" / "checkpoint_final.pth", ns=(later, later))
