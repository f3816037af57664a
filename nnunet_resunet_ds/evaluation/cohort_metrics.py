"""Compute all metrics of many cases: of two folders, or of the pairs in them."""

from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import digest
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.parallel import for_each, results_and_problems
from nnunet_resunet_ds.evaluation.case_metrics import Metrics, compare_labels
from nnunet_resunet_ds.evaluation.dice import EmptyRegions
from nnunet_resunet_ds.evaluation.pairs import (
    Conventions,
    LoadedPair,
    Pair,
    Pairs,
    find_pairs,
    in_nnunet_values,
    load_pair,
)
from nnunet_resunet_ds.evaluation.protocols import DEFAULT, Protocol, protocol_named
from nnunet_resunet_ds.evaluation.unmatched_lesions import UnmatchedLesion, placed_lesion
from postprocessing.saved_probabilities import saved_probabilities

REFERENCE, PREDICTION = "reference", "prediction"
Digests = dict[str, str]
"""`REFERENCE` and `PREDICTION` → SHA-256 of the file."""


@dataclass(frozen=True)
class Evaluation:
    """The metrics of all cases, and what could not be evaluated."""

    protocol: Protocol
    empty_regions: EmptyRegions
    cases: dict[str, Metrics]
    """Case → region → metric → value, sorted by case."""
    problems: list[str]
    """A line for each case that could not be evaluated."""
    digests: dict[str, Digests] = field(default_factory=dict)
    """Case → SHA-256 of its files."""
    lesions: dict[str, list[UnmatchedLesion]] = field(default_factory=dict)
    """Case → its false and missed lesions, the largest first."""


def evaluate(
    reference: Path,
    prediction: Path,
    protocol: str = DEFAULT,
    *,
    reference_labels: str | None = None,
    prediction_labels: str | None = None,
    empty_regions: EmptyRegions | None = None,
    allow_missing: bool = False,
    executor: Executor | None = None,
) -> Evaluation:
    """Compare predicted label maps with references: two files, or two folders.

    Args:
        reference: file, folder of ``CASE.nii.gz``, or folder of raw BraTS cases.
        prediction: the same kind.
        protocol: one of `PROTOCOLS`.
        reference_labels: what the values are, one of `LABELS`; None: what a file next to them declares.
        prediction_labels: the same.
        empty_regions: what a metric is where a region is empty; None: what the challenge says.
        allow_missing: go on where some cases have one file only.
        executor: evaluates the cases; None is a thread for each core.

    Raises:
        InputError: nothing to compare, cases have one file only or the same file on both sides, or no case could be
            evaluated.
    """
    pairs = find_pairs(
        reference,
        prediction,
        reference_labels=reference_labels,
        prediction_labels=prediction_labels,
        allow_missing=allow_missing,
    )
    return evaluate_pairs(pairs, protocol_named(protocol), empty_regions, executor)


def evaluate_pairs(
    pairs: Pairs, protocol: Protocol, empty_regions: EmptyRegions | None = None, executor: Executor | None = None
) -> Evaluation:
    """Evaluate pairs with a progress bar; a pair that cannot be read does not stop the others.

    Raises:
        InputError: no case could be evaluated.
    """
    empty_regions = empty_regions or protocol.empty_regions
    work = partial(
        _evaluated,
        conventions=(pairs.reference.convention, pairs.prediction.convention),
        protocol=protocol,
        empty_regions=empty_regions,
    )
    in_order = sorted(pairs.pairs, key=lambda pair: pair.case)
    outcomes = for_each(in_order, work, "evaluate", executor, name=lambda pair: pair.case)
    named = zip((pair.case for pair in in_order), outcomes, strict=True)
    found = {case: outcome for case, outcome in named if not isinstance(outcome, InputError)}
    _, problems = results_and_problems(outcomes)
    if not found:
        raise InputError("\n".join(problems))
    cases = {case: of_case.metrics for case, of_case in found.items()}
    digests = {case: of_case.digests for case, of_case in found.items()}
    lesions = {case: of_case.lesions for case, of_case in found.items()}
    return Evaluation(protocol, empty_regions, cases, problems, digests, lesions)


@dataclass(frozen=True)
class _EvaluatedPair:
    """What comes of one pair."""

    metrics: Metrics
    digests: Digests
    lesions: list[UnmatchedLesion]


def _evaluated(pair: Pair, conventions: Conventions, protocol: Protocol, empty_regions: EmptyRegions) -> _EvaluatedPair:
    """Read and evaluate one pair.

    Raises:
        InputError: see `load_pair`.
    """
    loaded = load_pair(pair, conventions, protocol)
    metrics, lesions = compare_labels(loaded.reference, loaded.prediction, loaded.spacing, protocol, empty_regions)
    probabilities = _probabilities(pair, loaded, protocol) if lesions else {}
    placed = [placed_lesion(lesion, loaded.grid, probabilities.get(lesion.region.lower())) for lesion in lesions]
    digests = {REFERENCE: digest(pair.reference), PREDICTION: digest(pair.prediction)}
    return _EvaluatedPair(metrics, digests, placed)


def _probabilities(pair: Pair, loaded: LoadedPair, protocol: Protocol) -> dict[str, NDArray[np.floating]]:
    """Return region → probability (X, Y, Z) that lie next to a prediction; empty where there are none of it."""
    labels = in_nnunet_values(loaded.prediction, protocol).transpose()
    try:
        saved = saved_probabilities(pair.prediction.parent, pair.case, labels, loaded.grid)
    except InputError as error:
        LOG.warning("%s; the peak probabilities of its lesions are left out", error)
        return {}
    named = zip(saved.regions, saved.probabilities, strict=False) if saved else ()
    return {region.name.lower(): of_region.transpose() for region, of_region in named}
