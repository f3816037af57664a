"""How the starter model is made: the steps, going on, and the numbers of the card, with tiny trainings on phantoms."""

import json

import numpy as np
import pytest

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.demo.phantom import Anatomy, make_cohort
from nnunet_resunet_ds.demo.stock_commands import StockCommands
from nnunet_resunet_ds.experiments.starter import make
from nnunet_resunet_ds.experiments.starter.measure import CaseScores, fold_rows, scores_of, summarised
from nnunet_resunet_ds.experiments.starter.sources import sources_of
from nnunet_resunet_ds.models.card import DICE, LESION_DICE, WITH, WITHOUT, Score, read_card
from nnunet_resunet_ds.tuning.stored_case import StoredCase
from postprocessing.config import PRESETS

TINY = (
    "--patch-size", "16", "16", "16", "--features", "4", "8", "--epochs", "1", "--iterations", "4", "--val-iterations",
    "1", "--lr", "1e-2", "--seed", "1",
)  # fmt: skip


def test_every_case_has_its_source():
    first, second = sources_of(["BraTS2021_00002", "Brats18_TCIA01_1_1", "BraTS2021_00001"])
    assert (first.name, first.cases) == ("BraTS 2021", ("BraTS2021_00001", "BraTS2021_00002"))
    assert (second.name, second.cases) == ("BraTS 2018", ("Brats18_TCIA01_1_1",))
    with pytest.raises(InputError, match=r"cases other…: add their source"):
        sources_of(["other_1"])


def test_scores_of_a_case_are_those_of_the_challenge():
    """Half of the tumour is found, and there is no enhancing tumour, nor is any predicted."""
    reference = np.zeros((12, 12, 12), np.uint8)
    reference[2:6, 2:6, 2:6] = 2
    probabilities = np.zeros((3, 12, 12, 12), np.float32)
    probabilities[:2, 2:6, 2:6, 2:4] = 0.8
    found = scores_of(StoredCase(probabilities, reference, (1.0,) * 3, reference.shape), PRESETS["nnunet"])
    assert found["WT"][DICE] == found["TC"][DICE] == pytest.approx(2 / 3) and found["ET"][DICE] == 1
    probabilities[2, 2, 2, 2] = 0.8
    found = scores_of(StoredCase(probabilities, reference, (1.0,) * 3, reference.shape), PRESETS["nnunet"])
    assert found["ET"] == {DICE: 0, LESION_DICE: 0}


def case_of(fold, name, dice):
    scores = {"WT": {DICE: dice, LESION_DICE: dice / 2}}
    return CaseScores(fold, name, {WITHOUT: {"WT": {DICE: 0.1, LESION_DICE: 0.2}}, WITH: scores})


def test_means_are_over_cases_and_folds_have_their_own():
    cases = [case_of("0", "a", 0.9), case_of("0", "b", 0.5), case_of("1", "c", 0.1)]
    scores = summarised(cases)
    assert scores[DICE][WITH]["WT"] == Score(0.5, 0.1, 0.9)
    assert scores[LESION_DICE][WITH]["WT"] == Score(0.25, 0.05, 0.45) and scores[DICE][WITHOUT]["WT"].mean == 0.1
    assert fold_rows(cases) == [
        {"fold": "0", "n_cases": 2, "cases": ["a", "b"], DICE: {"WT": 0.7}},
        {"fold": "1", "n_cases": 1, "cases": ["c"], DICE: {"WT": 0.1}},
    ]


@pytest.mark.parametrize("step", ["convert", "plan"])
def test_other_cases_or_settings_are_refused_in_the_folder_of_a_training(tmp_path, monkeypatch, step):
    making = make.StarterTraining([tmp_path], tmp_path, "cpu")
    done = {name: list(words) for name, words in making.commands().items()}
    done[step] = [*done[step], "--another"]
    (tmp_path / make.STEPS_DONE).write_text(json.dumps(done))
    monkeypatch.setattr(StockCommands, "run", lambda *_: pytest.fail("a command ran"))
    with pytest.raises(InputError, match=rf"{step} was done by .* --another; give the same again"):
        making.run(tmp_path / "model")


@pytest.mark.long
def test_the_whole_way_and_again(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "PLAN_FLAGS", TINY)
    monkeypatch.setattr(make, "FOLDS", ("0", "1"))
    anatomy = Anatomy(shape=(40, 44, 42), brain_radii=(15, 17, 16), noise=(5, 6))
    training, _, _ = make_cohort(tmp_path / "phantoms", 5, 0, anatomy)
    ran = []
    run = StockCommands.run
    monkeypatch.setattr(
        StockCommands, "run", lambda self, *words, **more: (ran.append(words), run(self, *words, **more))
    )
    making = make.StarterTraining([training], tmp_path / "work", "cpu")
    card = making.run(tmp_path / "model")
    assert [words[1] for words in ran if words[0] == "resunet-ds"] == ["convert", "splits", "plan", "train", "predict"]
    assert read_card(tmp_path / "model") == card and card.n_cases == 5
    assert {file.parent.name for file in (tmp_path / "model").glob("*/*")} == {f"fold_{fold}" for fold in range(2)}
    before = {file: file.stat().st_mtime_ns for file in making.model.glob("fold_*/checkpoint_final.pth")}
    ran.clear()
    again = making.run(tmp_path / "model")
    assert [words[1] for words in ran] == ["train", "predict"]
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert (again.scores, again.folds) == (card.scores, card.folds)
