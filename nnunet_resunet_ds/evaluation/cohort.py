"""All metrics of many cases: two folders, or the pairs in them."""

from dataclasses import dataclass
from pathlib import Path

from dataset_conversion.parallel import for_each
from nnunet_resunet_ds.errors import InputError
from nnunet_resunet_ds.evaluation.case import Metrics, evaluate_labels
from nnunet_resunet_ds.evaluation.empty_regions import BRATS, EmptyRegions
from nnunet_resunet_ds.evaluation.pairs import Pair, Pairs, find_pairs, load_pair
from nnunet_resunet_ds.evaluation.protocols import DEFAULT, Protocol, protocol_named


@dataclass(frozen=True)
class Evaluation:
    """What came of it."""

    protocol: Protocol
    empty_regions: EmptyRegions
    cases: dict[str, Metrics]
    """Case → region → metric → value, sorted by case."""
    problems: list[str]
    """A line for each case that could not be evaluated."""


def evaluate(
    reference: Path,
    prediction: Path,
    protocol: str = DEFAULT,
    *,
    reference_labels: str | None = None,
    prediction_labels: str | None = None,
    empty_regions: EmptyRegions = BRATS,
    allow_missing: bool = False,
    n_threads: int | None = None,
) -> Evaluation:
    """Compare predicted label maps with references: two files, or two folders.

    Args:
        reference: file, folder of ``CASE.nii.gz``, or folder of raw BraTS cases.
        prediction: the same kind.
        protocol: one of `PROTOCOLS`.
        reference_labels: what the values are, one of `LABELS`; None: as a file beside them declares.
        prediction_labels: the same.
        empty_regions: what a metric is where a region is empty.
        allow_missing: go on where some cases have one file only.
        n_threads: cases at a time; None is the number of cores.

    Raises:
        InputError: nothing to compare, cases have one file only, or no case could be evaluated.
    """
    pairs = find_pairs(
        reference,
        prediction,
        reference_labels=reference_labels,
        prediction_labels=prediction_labels,
        allow_missing=allow_missing,
    )
    return evaluate_pairs(pairs, protocol_named(protocol), empty_regions, n_threads)


def evaluate_pairs(
    pairs: Pairs, protocol: Protocol, empty_regions: EmptyRegions = BRATS, n_threads: int | None = None
) -> Evaluation:
    """Evaluate pairs with a progress bar; one that cannot be read does not stop the others.

    Raises:
        InputError: no case could be evaluated.
    """

    def work(pair: Pair) -> Metrics | str:
        try:
            loaded = load_pair(pair, pairs, protocol)
            return evaluate_labels(loaded.reference, loaded.prediction, loaded.spacing, protocol, empty_regions)
        except InputError as error:
            return str(error)

    outcomes = for_each(pairs.pairs, work, "evaluate", n_threads)
    named = sorted(zip((pair.case for pair in pairs.pairs), outcomes, strict=True), key=lambda item: item[0])
    problems = [outcome for _, outcome in named if isinstance(outcome, str)]
    cases = {case: outcome for case, outcome in named if not isinstance(outcome, str)}
    if not cases:
        raise InputError("\n".join(problems))
    return Evaluation(protocol, empty_regions, cases, problems)
