"""Model cards: they come back as written, and their text has every number."""

from dataclasses import replace

import pytest

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.models.card import (
    DICE,
    EVALUATION,
    LESION_DICE,
    WITH,
    WITHOUT,
    ModelCard,
    Score,
    Source,
    read_card,
    score_table,
)
from nnunet_resunet_ds.models.card_text import CARD_TEXT, write_card_text

CARD = ModelCard(
    title="A model",
    summary="made up",
    sources=(Source("BraTS 2021", "CC BY 4.0", ("Baid et al.",), 2, ("a", "b")), Source("other", "none", (), 1)),
    scores={
        metric: {
            state: {"WT": Score(mean, 0.1, 0.9), "ET": Score(mean / 2, 0.0, 1.0)}
            for state, mean in ((WITHOUT, first), (WITH, second))
        }
        for metric, first, second in ((DICE, 0.711, 0.722), (LESION_DICE, 0.533, 0.544))
    },
    how_measured="By folds.",
    folds=({"fold": "0", "n_cases": 2, "cases": ["a", "b"], "dice": {"WT": 0.8, "ET": 0.25}},),
    training={"seconds": 1234, "hardware": "2 cores", "versions": {"torch": "2.9"}, "commands": ["resunet-ds train"]},
    prediction="A case took 9 s.",
    limits=("Not a medical device.",),
    weights={"0": "0123"},
)


def test_a_card_comes_back(tmp_path):
    assert read_card(tmp_path) is None
    CARD.write(tmp_path)
    assert read_card(tmp_path) == CARD
    assert CARD.n_cases == 3
    assert CARD.headline == "made up; mean Dice of cases that it had not seen: WT 0.72, ET 0.36"


def test_its_text_has_every_number_source_and_limit(tmp_path):
    write_card_text(CARD, tmp_path)
    text = (tmp_path / CARD_TEXT).read_text()
    for expected in (
        "0.711 (0.10 to 0.90)", "0.722", "0.533", "0.544", "| 0 | 2 | 0.800 | 0.250 |", "CC BY 4.0", "Baid et al.",
        "1,234 s", "torch 2.9", "resunet-ds train", "A case took 9 s.", "- Not a medical device.", "Cases: a, b.",
        "By folds.",
    ):  # fmt: skip
        assert expected in text


def test_a_damaged_card_is_named(tmp_path):
    (tmp_path / "model_card.json").write_text('{"title": "half"}')
    with pytest.raises(InputError, match=r"model_card\.json: damaged"):
        read_card(tmp_path)


def test_scores_stand_under_their_regions(tmp_path):
    """Lesion-wise Dice may lack a region that Dice has."""
    scores = {
        DICE: {EVALUATION: {"WT": Score(0.9, 0.9, 0.9), "NETC": Score(0.5, 0.5, 0.5), "ET": Score(0.7, 0.7, 0.7)}},
        LESION_DICE: {EVALUATION: {"WT": Score(0.8, 0.8, 0.8), "ET": Score(0.3, 0.3, 0.3)}},
    }
    header, (first, second) = score_table(replace(CARD, scores=scores, folds=()))
    assert header[1:] == ["WT", "NETC", "ET"]
    assert [cell[:5] for cell in first[1:]] == ["0.900", "0.500", "0.700"]
    assert [cell[:5] for cell in second[1:]] == ["0.800", "–", "0.300"]
    write_card_text(replace(CARD, scores=scores), tmp_path)


def test_what_was_not_measured_or_noted_is_not_made_up(tmp_path):
    card = replace(CARD, scores={}, folds=(), training={"commands": ["nnUNetv2_train 1"]})
    write_card_text(card, tmp_path)
    text = (tmp_path / CARD_TEXT).read_text()
    assert "Not measured." in text and "Training took" not in text and "nnUNetv2_train 1" in text
    assert "not measured" in card.headline
