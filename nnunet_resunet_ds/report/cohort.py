"""From folders to the report: finding the cases, the worst first, reading them side by side, writing the page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dataset_conversion.edition import CHANNEL_NAMES
from dataset_conversion.parallel import for_each
from nnunet_resunet_ds.checks import check_whole_number
from nnunet_resunet_ds.errors import InputError
from nnunet_resunet_ds.evaluation.case import Metrics
from nnunet_resunet_ds.evaluation.cohort import evaluate_pairs
from nnunet_resunet_ds.evaluation.label_maps import LabelMaps, find_label_maps
from nnunet_resunet_ds.evaluation.metrics_file import read_metrics
from nnunet_resunet_ds.evaluation.pairs import pair_label_maps
from nnunet_resunet_ds.evaluation.protocols import DEFAULT, Protocol, protocol_named
from nnunet_resunet_ds.image_cases import find_prediction_cases
from nnunet_resunet_ds.report.beside import look_beside
from nnunet_resunet_ds.report.case import BEFORE, PREDICTION, REFERENCE, ReportCase, Sources, build_case
from nnunet_resunet_ds.report.page import write_page
from nnunet_resunet_ds.report.pictures import DEFAULT_QUALITY

MAX_VIEWERS = 100
"""Cases with pictures, unless more are asked for; 100 are about 50 MB."""


@dataclass(frozen=True)
class Written:
    """What was written."""

    cases: list[ReportCase]
    problems: list[str]
    """A line for each case that could not be shown."""


def write_report(
    images: Sequence[Path],
    prediction: Path,
    output: Path,
    *,
    reference: Path | None = None,
    metrics: Path | None = None,
    before: Path | None = None,
    protocol: str = DEFAULT,
    prediction_labels: str | None = None,
    reference_labels: str | None = None,
    edition: str = "auto",
    edition_file: Path | None = None,
    quality: int = DEFAULT_QUALITY,
    max_viewers: int = MAX_VIEWERS,
    title: str = "Brain-tumour segmentation",
    skip_invalid: bool = False,
    n_threads: int | None = None,
) -> Written:
    """Write one HTML file about a folder of predictions.

    Args:
        images: folders of the images that were predicted, raw BraTS cases or nnU-Net's ``CASE_0000.nii.gz`` ….
        prediction: folder of label maps.
        output: the HTML file.
        reference: folder of reference label maps; without it the report has volumes and flags, and no scores.
        metrics: what ``evaluate`` wrote about them; None: they are evaluated now.
        before: label maps before post-processing, to show what it changed.
        protocol: to evaluate by, and whose regions are shown; that of ``metrics`` where it is given.
        prediction_labels: what the values are, see `find_label_maps`.
        reference_labels: the same.
        edition: of the images, see `detect_edition`.
        edition_file: the description of a custom edition.
        quality: of the pictures, 1 to 100.
        max_viewers: cases with pictures, the worst first.
        title: of the page.
        skip_invalid: leave out cases that cannot be shown.
        n_threads: cases at a time; None is the number of cores.

    Raises:
        InputError: nothing to show, or cases that cannot be shown.
    """
    check_whole_number("quality", quality, at_least=1, at_most=100)
    check_whole_number("max_viewers", max_viewers, at_least=0)
    label_maps = {PREDICTION: find_label_maps(prediction, prediction_labels)}
    if reference:
        label_maps[REFERENCE] = find_label_maps(reference, reference_labels)
    if before:
        label_maps[BEFORE] = find_label_maps(before, prediction_labels)
    scores = _read(metrics) if metrics else _evaluate(label_maps, protocol_named(protocol), n_threads)
    case_set = find_prediction_cases(images, CHANNEL_NAMES, edition, edition_file)
    sources = Sources(scores.protocol, case_set, label_maps, look_beside(prediction), quality)
    names = worst_first(list(label_maps[PREDICTION].files), scores.cases, scores.protocol)
    shown = set(names[:max_viewers])

    def work(name: str) -> ReportCase | str:
        try:
            return build_case(name, sources, scores.cases.get(name, {}), with_pictures=name in shown)
        except InputError as error:
            return str(error)

    outcomes = for_each(names, work, "report", n_threads)
    cases = [outcome for outcome in outcomes if not isinstance(outcome, str)]
    problems = list(dict.fromkeys([*scores.problems, *(text for text in outcomes if isinstance(text, str))]))
    if problems and not (skip_invalid and cases):
        n = f"{len(names) - len(cases)} of {len(names)} cases cannot be shown, {len(scores.problems)} not evaluated"
        raise InputError("\n".join([*problems, f"{n}; leave them out with --skip-invalid"]))
    write_page(cases, scores.protocol, title, output)
    return Written(cases, problems)


@dataclass(frozen=True)
class _Scores:
    """What is known of the cases in numbers."""

    protocol: Protocol
    cases: Mapping[str, Metrics] = field(default_factory=dict)
    problems: Sequence[str] = ()


def _read(metrics: Path) -> _Scores:
    name, cases = read_metrics(metrics)
    return _Scores(protocol_named(name), cases)


def _evaluate(label_maps: Mapping[str, LabelMaps], protocol: Protocol, n_threads: int | None) -> _Scores:
    """Evaluate the predictions that have a reference."""
    if REFERENCE not in label_maps:
        return _Scores(protocol)
    pairs = pair_label_maps(label_maps[REFERENCE], label_maps[PREDICTION])
    evaluation = evaluate_pairs(pairs, protocol, n_threads=n_threads)
    return _Scores(protocol, evaluation.cases, evaluation.problems)


def worst_first(names: Sequence[str], scores: Mapping[str, Metrics], protocol: Protocol) -> list[str]:
    """Sort cases by their mean Dice over regions, lesion-wise where there is; those without a score come last."""
    metric = "lesion_dice" if protocol.is_lesion_wise else "dice"

    def mean(name: str) -> float:
        values = [region[metric] for region in scores.get(name, {}).values() if not math.isnan(region[metric])]
        return float(np.mean(values)) if values else math.inf

    return sorted(names, key=lambda name: (mean(name), name))
