"""The card of a model: what it was trained on, what it reaches on cases that it had not seen, and what it cannot do."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json, write_json
from nnunet_resunet_ds.base.text_table import MISSING

CARD = "model_card.json"
"""In the folder of a model."""
DICE, LESION_DICE = "dice", "lesion_dice"
METRICS = {DICE: "Dice", LESION_DICE: "lesion-wise Dice"}
"""Of `ModelCard.scores`, by the names of `resunet-ds evaluate`."""
WITHOUT, WITH, VALIDATION, EVALUATION = (
    "without_postprocessing", "with_postprocessing", "nnunet_validation", "evaluation",
)  # fmt: skip
MEASURED = {
    WITH: "with post-processing",
    EVALUATION: "resunet-ds evaluate",
    VALIDATION: "nnU-Net's validation of the folds",
    WITHOUT: "thresholds of 0.5 alone",
}
"""How `ModelCard.scores` were measured, what says most of the model first."""


@dataclass(frozen=True)
class Source:
    """Where training cases are from."""

    name: str
    licence: str
    citations: tuple[str, ...]
    n_cases: int
    cases: tuple[str, ...] = ()
    """Their ids, where these are noted."""


@dataclass(frozen=True)
class Score:
    """One metric of one region over cases that the fold in question was not trained on."""

    mean: float
    least: float
    most: float


Scores = Mapping[str, Mapping[str, Mapping[str, Score]]]
"""One of `METRICS` → one of `MEASURED` → region → score."""


@dataclass(frozen=True)
class ModelCard:
    """What a user has to know of a model before using it."""

    title: str
    summary: str
    """One line: what it is, and what not."""
    sources: tuple[Source, ...]
    scores: Scores
    how_measured: str
    """On which cases, and by which rules."""
    folds: tuple[Mapping[str, Any], ...]
    """Of each fold: its name, its number of cases, and mean Dice a region; their ids, too, where these are noted."""
    training: Mapping[str, Any]
    """Commands, seconds, hardware and versions."""
    prediction: str
    """How long a case takes, and on what."""
    limits: tuple[str, ...]
    weights: Mapping[str, str]
    """Fold → identity of the weights that it is of."""
    started_from: str = ""
    """The model whose weights the training started from; empty where they were random."""
    n_seen_before: int = 0
    """How many of the measured cases that model had seen in its training."""

    @property
    def n_cases(self) -> int:
        """How many it was trained on, all folds together."""
        return sum(source.n_cases for source in self.sources)

    @property
    def dice(self) -> dict[str, float]:
        """Mean Dice of each region, measured in the way that says most; empty where it is not measured."""
        by_state = self.scores.get(DICE, {})
        best = next((by_state[state] for state in MEASURED if state in by_state), {})
        return {region: score.mean for region, score in best.items()}

    @property
    def headline(self) -> str:
        """One line for the user of the model."""
        dice = ", ".join(f"{region} {value:.2f}" for region, value in self.dice.items())
        return f"{self.summary}; mean Dice of {self._measured_on}: {dice or 'not measured'}"

    @property
    def _measured_on(self) -> str:
        if not self.n_seen_before:
            return "cases that it had not seen"
        seen = f"{self.n_seen_before} of which {self.started_from}, where it started from, had seen"
        return f"its validation cases, {seen}"

    def write(self, folder: Path) -> None:
        """Write into the folder of a model."""
        write_json(asdict(self), folder / CARD)


def read_card(folder: Path) -> ModelCard | None:
    """Read the card in the folder of a model; None where there is none.

    Raises:
        InputError: it is damaged.
    """
    file = folder / CARD
    if not file.is_file():
        return None
    content = read_json(file)
    try:
        return ModelCard(
            **{
                **content,
                "sources": tuple(_source(entry) for entry in content["sources"]),
                "scores": _scores(content["scores"]),
                "folds": tuple(content["folds"]),
                "limits": tuple(content["limits"]),
            }
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        msg = f"{file}: damaged ({error}); install or copy the model again"
        raise InputError(msg) from error


def _source(entry: Mapping[str, Any]) -> Source:
    return Source(**{**entry, "citations": tuple(entry["citations"]), "cases": tuple(entry["cases"])})


def _scores(content: Mapping[str, Any]) -> Scores:
    return {
        metric: {
            state: {region: Score(**score) for region, score in by_region.items()}
            for state, by_region in by_state.items()
        }
        for metric, by_state in content.items()
    }


def score_table(card: ModelCard) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of all scores: a row for each metric, without and with post-processing."""
    measured = [(metric, state, found) for metric, by_state in card.scores.items() for state, found in by_state.items()]
    regions = list(dict.fromkeys(region for _, _, found in measured for region in found))
    rows = [
        [f"{METRICS[metric]}, {MEASURED[state]}", *(_shown(found.get(region)) for region in regions)]
        for metric, state, found in measured
    ]
    return ["mean (least to most)", *regions], rows


def _shown(score: Score | None) -> str:
    return MISSING if score is None else f"{score.mean:.3f} ({score.least:.2f} to {score.most:.2f})"
