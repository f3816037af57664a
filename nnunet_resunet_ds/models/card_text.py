"""Write the card of a model as Markdown, for people."""

from collections.abc import Iterator
from pathlib import Path

from nnunet_resunet_ds.base.files import replacing
from nnunet_resunet_ds.base.text_table import MISSING, markdown_rows
from nnunet_resunet_ds.models.card import DICE, ModelCard, Source, score_table

CARD_TEXT = "MODEL_CARD.md"
"""In the folder of a model."""


def write_card_text(card: ModelCard, folder: Path) -> None:
    """Write the card into the folder of a model."""
    with replacing(folder / CARD_TEXT) as temporary:
        temporary.write_text("\n".join([*card_lines(card), ""]), encoding="utf-8")


def card_lines(card: ModelCard) -> Iterator[str]:
    """Yield the lines of the card."""
    yield from (f"# {card.title}", "", f"{card.summary}.", "", "## What it reaches", "")
    yield from (*_scores(card), "", card.prediction, "", "## Limits", "")
    yield from (f"- {limit}" for limit in card.limits)
    yield from ("", "## Data", "")
    for source in card.sources:
        yield from _source(source)
    yield from ("", "## How it was made", "", *_training(card))


def _scores(card: ModelCard) -> Iterator[str]:
    if not card.dice:
        yield "Not measured."
        return
    yield card.how_measured
    if card.n_seen_before:
        yield (
            f"The training started from the weights of {card.started_from}, which had seen {card.n_seen_before} of "
            "these cases: the scores are higher than those of new cases."
        )
    yield from ("", *markdown_rows(*score_table(card)))
    if card.folds:
        yield from ("", *_folds(card))


def _source(source: Source) -> Iterator[str]:
    yield f"- **{source.name}**, {source.n_cases} cases: {source.licence}."
    if source.citations:
        yield f"  Cite {'; '.join(source.citations)}."
    if source.cases:
        yield f"  Cases: {', '.join(source.cases)}."


def _folds(card: ModelCard) -> Iterator[str]:
    regions = list(dict.fromkeys(region for fold in card.folds for region in fold[DICE]))
    rows = [
        [
            fold["fold"],
            str(fold["n_cases"]),
            *(f"{fold[DICE][region]:.3f}" if region in fold[DICE] else MISSING for region in regions),
        ]
        for fold in card.folds
    ]
    yield from ("Mean Dice of the cases of each fold:", "")
    yield from markdown_rows(["fold", "cases", *regions], rows)


def _training(card: ModelCard) -> Iterator[str]:
    training = card.training
    if card.started_from:
        yield f"The training started from the weights of {card.started_from} (`resunet-ds plan --pretrained`)."
        yield ""
    if "seconds" in training:
        versions = ", ".join(f"{name} {version}" for name, version in training["versions"].items())
        yield f"Training took {training['seconds']:,} s for all folds, on {training['hardware']}; {versions}."
        yield ""
    yield from ("```", *training["commands"], "```")
