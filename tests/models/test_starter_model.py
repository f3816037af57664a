"""The starter model that comes with the package: what it is, what its card says, and how it is reached."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from nnunet_resunet_ds.base.images import read_labels
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.commands.prediction_lines import _starter_dice
from nnunet_resunet_ds.demo.phantom import make_cohort
from nnunet_resunet_ds.evaluation.dice import mean_region_dice, region_dice
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.models.card import DICE, METRICS, WITH, WITHOUT
from nnunet_resunet_ds.models.card_text import card_lines
from nnunet_resunet_ds.models.starter import STARTER_FOLDER, starter_card
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import SAFE_FINAL
from nnunet_resunet_ds.training.checkpoint.safe_weights import read_safe_weights

PROJECT = Path(__file__).parents[2]
MAX_BYTES = 12e6
NAMES_OF_OTHERS = (["-tr", "Other"], ["-p", "Other"], ["-c", "3d_lowres"])


@pytest.fixture(scope="module")
def card():
    return starter_card()


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Folder of one made-up case, whose brain is much smaller than an adult's."""
    return make_cohort(tmp_path_factory.mktemp("phantom"), 0, 1)[1]


def test_it_is_small_has_seven_stages_and_nothing_but_what_prediction_needs():
    files = [file for file in STARTER_FOLDER.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= MAX_BYTES
    assert {file.name for file in files} == {
        SAFE_FINAL, "plans.json", "dataset.json", "postprocessing.json", "expected_dice.json", "model_card.json",
        "MODEL_CARD.md",
    }  # fmt: skip
    model = load_model(STARTER_FOLDER)
    assert len(model.configuration.network_arch_init_kwargs["features_per_stage"]) == 7
    assert tuple(model.weights) == ("0", "1", "2", "3", "4")


def test_its_numbers_are_of_cases_that_the_fold_had_not_seen(card):
    measured = {row["fold"]: set(row["cases"]) for row in card.folds}
    for fold, cases in measured.items():
        noted = read_safe_weights(STARTER_FOLDER / f"fold_{fold}" / SAFE_FINAL)["resunet_ds"]["cases"]
        assert cases == set(noted["val"]) and not cases & set(noted["train"])
    counts = Counter(case for cases in measured.values() for case in cases)
    assert (
        set(counts) == {case for source in card.sources for case in source.cases}
        and set(counts.values()) == {1}
        and len(counts) == 18
    )


def test_its_mean_is_that_of_its_folds(card):
    for region, dice in card.dice.items():
        total = sum(row["n_cases"] * row[DICE][region] for row in card.folds)
        assert dice == pytest.approx(total / card.n_cases, abs=2e-4)
    for metric in METRICS:
        for state in (WITHOUT, WITH):
            for score in card.scores[metric][state].values():
                assert 0 <= score.least <= score.mean <= score.most <= 1


def test_the_settings_that_come_with_it_were_tuned_on_its_weights(card):
    settings = json.loads((STARTER_FOLDER / "postprocessing.json").read_text())
    assert settings["tuned_on"] == load_model(STARTER_FOLDER).identities
    assert json.loads((STARTER_FOLDER / "expected_dice.json").read_text())["tuned_on"] == settings["tuned_on"]


def test_its_text_and_the_readme_have_the_numbers_of_the_card(card):
    assert (STARTER_FOLDER / "MODEL_CARD.md").read_text() == "\n".join([*card_lines(card), ""])
    readme = (PROJECT / "README.md").read_text()
    for region, dice in card.dice.items():
        assert f"{region} {dice:.2f}" in readme


def test_it_predicts_where_no_model_is_named(phantom, tmp_path, capsys, card):
    assert main(["predict", "-i", str(phantom), "-o", str(tmp_path / "labels"), "--no-tta"]) == 0
    said = capsys.readouterr().out
    dice = ", ".join(f"{region} {value:.2f}" for region, value in card.dice.items())
    assert "the starter model: a first look, not a result; mean Dice of cases that it had not seen: " in said
    assert f": {dice}; folds 0, 1, 2, 3, 4; choose your own with -d or -m" in said and "starter_model" not in said
    assert "smaller than in training: 1 case" in said and "another spacing" not in said
    run = json.loads((tmp_path / "labels" / "run.json").read_text())
    assert len(run["cases"]) == 1 and "WT" in next(iter(run["cases"].values()))["certainty"]


def test_some_of_its_folds_are_told_with_their_own_dice(card):
    assert _starter_dice(card, ["1", "0"]).startswith("fold 0: WT 0.86") and "; fold 1: WT" in _starter_dice(card, "01")
    assert _starter_dice(card, list(card.weights)).startswith("WT 0.75")


@pytest.mark.parametrize("flags", NAMES_OF_OTHERS)
def test_the_name_of_another_model_needs_its_dataset(phantom, tmp_path, capsys, flags, bad_input):
    assert main(["predict", "-i", str(phantom), "-o", str(tmp_path / "labels"), *flags]) == 2
    error = capsys.readouterr().err
    assert f"{flags[0]} names a model of a dataset: give the dataset, too, with -d" in error
    bad_input("predict", f"{flags[0]} without -d", error)


def test_it_is_listed_first(capsys, card, nnunet_folders):
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[1].startswith("starter") and card.headline in said and "no model of your own" in said
    assert main(["models", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["dice"] == card.dice and found["n_cases"] == 18


@pytest.mark.long
def test_a_fold_reaches_on_its_own_cases_what_the_card_says(real_cases, card, tmp_path):
    """Predicted and scored by other commands than those that wrote the card."""
    row = min(card.folds, key=lambda fold: len(fold["cases"]))
    for case in row["cases"]:
        (source,) = real_cases.parent.glob(f"*/{case}")
        shutil.copytree(source, tmp_path / "cases" / case)
    settings = ["--config", str(STARTER_FOLDER / "postprocessing.json")]
    arguments = ["-i", str(tmp_path / "cases"), "-o", str(tmp_path / "labels"), "-m", str(STARTER_FOLDER)]
    assert main(["predict", *arguments, "-f", row["fold"], "--labels", "2021", *settings]) == 0
    found = mean_region_dice(
        region_dice(*(as_nnunet(read_labels(file)[1]) for file in (reference, tmp_path / "labels" / f"{case}.nii.gz")))
        for case in row["cases"]
        for reference in [next((tmp_path / "cases" / case).glob("*seg.nii.gz"))]
    )
    assert found == pytest.approx(row[DICE], abs=0.02)  # settings may be those of the other folds there


def as_nnunet(labels):
    """Return BraTS 2018 and 2021 labels (1 NCR, 2 ED, 4 ET) in nnU-Net's values."""
    values = labels.copy()
    values[labels == 1], values[labels == 2], values[labels == 4] = 2, 1, 3
    return values
