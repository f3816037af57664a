"""Make a report from folders: find the cases, the worst first, read them, write the page."""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dataset_conversion.editions import CHANNEL_NAMES
from dataset_conversion.image_cases import CaseSet, find_prediction_cases
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import check_output_file, digest, read_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON
from nnunet_resunet_ds.base.parallel import for_each, results_and_problems
from nnunet_resunet_ds.base.setting_checks import check_whole_number
from nnunet_resunet_ds.evaluation.case_metrics import Metrics
from nnunet_resunet_ds.evaluation.cohort_metrics import PREDICTION, REFERENCE, evaluate_pairs
from nnunet_resunet_ds.evaluation.label_maps import LabelMaps, find_label_maps
from nnunet_resunet_ds.evaluation.metrics_file import read_digests, read_metrics
from nnunet_resunet_ds.evaluation.pairs import pair_label_maps
from nnunet_resunet_ds.evaluation.protocols import DEFAULT, Protocol, protocol_named
from nnunet_resunet_ds.report.case_part import BEFORE, CasePart, ReportCase, Sources, build_case
from nnunet_resunet_ds.report.page import write_page
from nnunet_resunet_ds.report.pictures import DEFAULT_QUALITY
from nnunet_resunet_ds.report.prediction_folder import look_beside


def find_images(images: Sequence[Path], prediction: Path, edition: str, edition_file: Path | None) -> CaseSet:
    """Find the images of cases; a sequence that no case has is left out.

    Args:
        images: folders of raw BraTS cases, or of nnU-Net's images.
        prediction: folder of label maps.
        edition: of the images, see `detect_edition`.
        edition_file: the description of a custom edition.

    Raises:
        InputError: no case, or no edition.
    """
    names = channel_names([*(folder.resolve().parent for folder in images), prediction])
    found = find_prediction_cases(images, names, edition, edition_file)
    there = {name for case in found.cases for name in case.images}
    left = tuple(name for name, channel in zip(names, found.channels, strict=True) if channel in there)
    return found if left == names else find_prediction_cases(images, left, edition, edition_file)


def channel_names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return what the first dataset.json in one of these folders calls the channels, in order; else BraTS' names."""
    for folder in folders:
        try:
            names = read_json(folder / DATASET_JSON)["channel_names"]
            return tuple(str(names[key]) for key in sorted(names, key=int))
        except (InputError, LookupError, TypeError, ValueError):
            continue  # none, or nothing in it that helps
    return CHANNEL_NAMES


MAX_VIEWERS = 100
"""Cases with pictures, unless more are asked for; 100 are about 50 MB."""


@dataclass(frozen=True)
class Written:
    """What was written."""

    cases: list[ReportCase]
    problems: list[str]
    """A line for each case of which something could not be shown."""


def write_report(
    images: Sequence[Path],
    prediction: Path,
    output: Path,
    *,
    reference: Path | None = None,
    metrics: Path | None = None,
    before: Path | None = None,
    protocol: str | None = None,
    prediction_labels: str | None = None,
    reference_labels: str | None = None,
    edition: str = "auto",
    edition_file: Path | None = None,
    quality: int = DEFAULT_QUALITY,
    max_viewers: int = MAX_VIEWERS,
    title: str = "Brain-tumour segmentation",
    skip_invalid: bool = False,
    executor: Executor | None = None,
) -> Written:
    """Write one HTML file about a folder of predictions.

    Args:
        images: folders of the images that were predicted, raw BraTS cases or nnU-Net's ``CASE_0000.nii.gz`` ….
        prediction: folder of label maps.
        output: the HTML file.
        reference: folder of reference label maps; without it the report has volumes and flags, and no scores.
        metrics: what ``evaluate`` wrote about them; None: they are evaluated now.
        before: label maps before post-processing, to show what it changed.
        protocol: to evaluate by, and whose regions are shown; None is that of ``metrics``, or `DEFAULT`.
        prediction_labels: what the values are, see `find_label_maps`.
        reference_labels: the same.
        edition: of the images, see `detect_edition`.
        edition_file: the description of a custom edition.
        quality: of the pictures, 1 to 100.
        max_viewers: cases with pictures, the worst first.
        title: of the page.
        skip_invalid: go on without what cannot be shown: a case, its pictures or its scores.
        executor: who reads cases and draws; None is a thread for each core.

    Raises:
        InputError: nothing to show, or cases that cannot be shown.
    """
    check_output_file(output, ".html")
    check_whole_number("quality", quality, at_least=1, at_most=100)
    check_whole_number("max_viewers", max_viewers, at_least=0)
    folders = {PREDICTION: prediction, REFERENCE: reference, BEFORE: before}
    labels = {PREDICTION: prediction_labels, REFERENCE: reference_labels, BEFORE: prediction_labels}
    label_maps = {which: find_label_maps(path, labels[which]) for which, path in folders.items() if path}
    scores = _read(metrics, protocol) if metrics else _evaluate(label_maps, protocol, executor)
    for which, maps in label_maps.items():
        LOG.info("%s: %s", which, maps.described(scores.protocol))
    for line in scores.warnings:
        LOG.warning(line)
    names = worst_first(list(label_maps[PREDICTION].files), scores.cases, scores.protocol)
    if metrics:
        _check_metrics(metrics, label_maps[PREDICTION], scores)
    folder = prediction if prediction.is_dir() else prediction.parent
    case_set = find_images(images, folder, edition, edition_file)
    beside = look_beside(folder)
    sources = Sources(scores.protocol, case_set, label_maps, beside, quality)
    written = _build(names, sources, scores, max_viewers, executor)
    if written.problems and not (skip_invalid and written.cases):
        raise InputError("\n".join([*written.problems, "have a report without these with --skip-invalid"]))
    write_page(written.cases, scores.protocol, title, output)
    return written


def _build(
    names: Sequence[str], sources: Sources, scores: "_Scores", max_viewers: int, executor: Executor | None
) -> Written:
    """Read every case, the first ``max_viewers`` with pictures; one that cannot be read does not stop the others."""
    parts = [
        CasePart(name, sources.of(name), scores.cases.get(name, {}), with_pictures=number < max_viewers)
        for number, name in enumerate(names)
    ]
    outcomes = for_each(parts, build_case, "report", executor, name=lambda part: part.name)
    cases, _ = results_and_problems(outcomes)
    problems = [str(outcome) if isinstance(outcome, InputError) else outcome.problem for outcome in outcomes]
    return Written(cases, list(dict.fromkeys(filter(None, [*scores.problems, *problems]))))


@dataclass(frozen=True)
class _Scores:
    """What is known of the cases in numbers."""

    protocol: Protocol
    cases: Mapping[str, Metrics] = field(default_factory=dict)
    problems: Sequence[str] = ()
    warnings: Sequence[str] = ()


def _read(metrics: Path, protocol: str | None) -> _Scores:
    found, cases = read_metrics(metrics)
    if protocol not in (None, found.name):
        msg = f"{metrics}: is of {found.name}, and {protocol} was asked for; evaluate again, or leave out --protocol"
        raise InputError(msg)
    return _Scores(found, cases)


def _evaluate(label_maps: Mapping[str, LabelMaps], name: str | None, executor: Executor | None) -> _Scores:
    """Evaluate the predictions that have a reference."""
    protocol = protocol_named(name or DEFAULT)
    if REFERENCE not in label_maps:
        return _Scores(protocol)
    pairs = pair_label_maps(label_maps[REFERENCE], label_maps[PREDICTION])
    evaluation = evaluate_pairs(pairs, protocol, executor=executor)
    return _Scores(protocol, evaluation.cases, evaluation.problems, pairs.warnings)


def _check_metrics(metrics: Path, predictions: LabelMaps, scores: _Scores) -> None:
    """Refuse metrics of other cases or of other label maps than the predictions."""
    files = predictions.files
    unscored = [name for name in sorted(files) if name not in scores.cases]
    if unscored:
        msg = f"{metrics}: has nothing on {len(unscored)} of {len(files)} cases, such as {unscored[0]}; evaluate again"
        raise InputError(msg)
    noted = read_digests(metrics)
    if not noted:
        LOG.warning("%s: does not say of which label maps it is; evaluate again if they have changed since", metrics)
    for name, of_case in noted.items():
        if name in files and of_case.get(PREDICTION) != digest(files[name]):
            msg = (
                f"{metrics}: was made from another label map of {name} than {files[name]}; evaluate again, or leave "
                "--metrics out"
            )
            raise InputError(msg)


def worst_first(names: Sequence[str], scores: Mapping[str, Metrics], protocol: Protocol) -> list[str]:
    """Sort cases by their mean Dice over regions, lesion-wise where there is; those without a score come last."""
    metric, _ = protocol.ranked_by

    def mean(name: str) -> float:
        values = [region[metric] for region in scores.get(name, {}).values() if not math.isnan(region[metric])]
        return float(np.mean(values)) if values else math.inf

    return sorted(names, key=lambda name: (mean(name), name))
