"""Make the card of a trained model from what its folder, and the user, tell of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.model_id import fold_folder
from nnunet_resunet_ds.evaluation.metrics_file import read_metrics
from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.models.card import (
    DICE,
    EVALUATION,
    METRICS,
    VALIDATION,
    ModelCard,
    Score,
    Scores,
    Source,
    read_card,
)
from nnunet_resunet_ds.models.inventory import configuration_name, described
from nnunet_resunet_ds.models.validation import n_seen_before, unmeasured_folds, validation_scores
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import FINAL
from nnunet_resunet_ds.training.checkpoint.pretrained import pretrained_of
from nnunet_resunet_ds.training.fold.fold_record import read_record

NOT_SAID = "not said"
LIMIT = "Not a medical device."


def card_of_model(
    model: Model,
    *,
    licence: str | None = None,
    citations: Sequence[str] = (),
    metrics: Path | None = None,
    limits: Sequence[str] = (),
    case_ids: bool = False,
) -> ModelCard:
    """Return the card of a model: the one that came with its weights, or a new one, with what the user says added.

    Args:
        model: with the folds that are shared.
        licence: of its data and weights, in words.
        citations: that the data asks for.
        metrics: what ``resunet-ds evaluate`` wrote about cases that the model had not seen; None takes what nnU-Net's
            validation of the folds left.
        limits: for which cases it is not made.
        case_ids: name the training cases, as far as the checkpoints note them.

    Raises:
        InputError: a file is missing or damaged, or the metrics are of other weights or of training cases.
    """
    earlier = read_card(model.folder)
    if earlier is not None and model.identities.items() <= earlier.weights.items():
        card = earlier if model.identities == earlier.weights else _of_some_folds(earlier, list(model.identities))
    else:
        card = _new_card(model, case_ids=case_ids)
    sources = [
        replace(
            source,
            licence=licence or source.licence,
            citations=tuple(dict.fromkeys([*source.citations, *citations])),
            cases=source.cases if case_ids else (),
        )
        for source in card.sources
    ]
    card = replace(card, sources=tuple(sources), limits=tuple(dict.fromkeys([*card.limits, *limits])))
    if metrics is None:
        return replace(card, weights=model.identities)
    scores, how = _evaluated(metrics, model)
    return replace(card, weights=model.identities, scores=scores, how_measured=how, folds=(), n_seen_before=0)


def _of_some_folds(card: ModelCard, folds: Sequence[str]) -> ModelCard:
    """Return the card of some folds of a model: what was measured of all of them together is left out."""
    which = f"fold{'s' if len(folds) > 1 else ''} {', '.join(folds)}"
    return replace(
        card,
        summary=f"{which} alone of: {card.summary}",
        scores={},
        how_measured=f"What was measured is of all folds of that model, and not of {which} alone.",
        folds=tuple(row for row in card.folds if str(row.get("fold")) in folds),
        n_seen_before=0,
    )


def _new_card(model: Model, *, case_ids: bool) -> ModelCard:
    known = described(model.folder, model.folder.name, tuple(model.weights))
    is_final = Path(model.checkpoint).stem == Path(FINAL).stem
    found = validation_scores(model.folder, model.dataset_json, known.folds) if is_final else {}
    by_region = _summarised(found)
    pretrained = pretrained_of(model.plans.plans)
    folds = f"fold{'s' if len(known.folds) > 1 else ''} {', '.join(known.folds)}"
    cases = tuple(sorted(model.training_cases)) if case_ids else ()
    return ModelCard(
        title=f"{known.data}, {model.trainer_name}",
        summary=f"{model.trainer_name}, {folds} of {known.data} ({known.n_cases} cases)",
        sources=(Source(known.data, NOT_SAID, (), known.n_cases, cases),),
        scores={DICE: {VALIDATION: by_region}} if by_region else {},
        how_measured=_how_validated(model, known.folds),
        folds=tuple(_fold_rows(model)) if is_final else (),
        training=_training(model),
        prediction=f"A case of usual size takes {known.tera_operations:g} TFLOP without flips.",
        limits=(LIMIT,),
        weights=model.identities,
        started_from=pretrained.model if pretrained else "",
        n_seen_before=n_seen_before(model.folder, pretrained, known.folds) if by_region else 0,
    )


def _how_validated(model: Model, folds: Sequence[str]) -> str:
    missing = unmeasured_folds(model.folder, folds)
    without = f" Without fold {', '.join(missing)}, which is not validated with these weights." if missing else ""
    return f"Each case is predicted by a fold that was not trained on it: nnU-Net's own validation.{without}"


def _evaluated(metrics: Path, model: Model) -> tuple[Scores, str]:
    """Return the scores of a file of ``resunet-ds evaluate``, and what they are of.

    Raises:
        InputError: they are of other weights, or of training cases.
    """
    file = read_metrics(metrics)
    protocol, cases = file.protocol, file.cases
    made_with, own = set(file.weights), set(model.identities.values())
    if not made_with <= own:
        msg = f"{metrics}: is of label maps that other weights made than those of {model.folder}; evaluate its own"
        raise InputError(msg)
    if made_with and made_with != own:
        names = ", ".join(fold for fold, identity in model.identities.items() if identity in made_with)
        msg = (
            f"{metrics}: is of label maps that fold {names} alone made, and folds {', '.join(model.identities)} are to "
            "be shared; evaluate what all of them predict, or share these with -f"
        )
        raise InputError(msg)
    if not made_with:
        LOG.warning("%s: nothing notes which weights made its label maps; the card says so", metrics)
    seen = sorted(set(cases) & set(model.training_cases))
    if seen:
        msg = (
            f"{metrics}: {len(seen)} of its {len(cases)} cases, such as {seen[0]}, are training cases of the model; "
            "give cases that it had not seen, or leave --metrics out for the validation of each fold"
        )
        raise InputError(msg)
    by_metric = {
        metric: _summarised({region: [case[region][metric] for case in cases.values()] for region in protocol.regions})
        for metric in METRICS
        if metric in protocol.metrics
    }
    unseen = "had not seen them" if made_with else "made these label maps and had not seen their cases"
    how = f"resunet-ds evaluate on {len(cases)} cases, by {protocol.name}; its maker says that it {unseen}."
    return {metric: {EVALUATION: by_region} for metric, by_region in by_metric.items() if by_region}, how


def _summarised(found: Mapping[str, Sequence[float]]) -> dict[str, Score]:
    """Return mean, least and most of each region; cases without a value do not count, nor do regions without any."""
    values = {region: np.array(numbers, float) for region, numbers in found.items()}
    return {
        region: Score(*(round(float(f(numbers)), 4) for f in (np.nanmean, np.nanmin, np.nanmax)))
        for region, numbers in values.items()
        if len(numbers) and not np.isnan(numbers).all()
    }


def _fold_rows(model: Model) -> Iterator[dict[str, Any]]:
    for fold in model.weights:
        found = validation_scores(model.folder, model.dataset_json, (fold,))
        if found:
            means = {region: score.mean for region, score in _summarised(found).items()}
            yield {"fold": fold, "n_cases": max(map(len, found.values())), DICE: means}


def _training(model: Model) -> dict[str, Any]:
    """Return the commands; and seconds, hardware and versions where every fold notes them."""
    number = str(model.plans.dataset_name).removeprefix("Dataset").partition("_")[0]
    trained = f"nnUNetv2_train {number} {configuration_name(model.folder)}"
    commands = [f"{trained} {fold} -tr {model.trainer_name} -p {model.plans.plans_name}" for fold in model.weights]
    records = [read_record(fold_folder(model.folder, fold)) for fold in model.weights]
    if not all({"epochs", "seconds_per_epoch", "machine", "versions"} <= record.keys() for record in records):
        return {"commands": commands}
    seconds = sum(record["epochs"] * (record["seconds_per_epoch"] or 0) for record in records)
    return {
        "seconds": round(seconds),
        "hardware": records[0]["machine"],
        "versions": records[0]["versions"],
        "commands": commands,
    }
