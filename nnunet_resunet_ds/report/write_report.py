"""Write a report: find the cases, read them with the worst first, and lay out the page."""

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import check_output_file, digest
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.parallel import for_each, results_and_problems
from nnunet_resunet_ds.base.setting_checks import check_whole_number
from nnunet_resunet_ds.evaluation.case_metrics import Metrics
from nnunet_resunet_ds.evaluation.cohort_metrics import PREDICTION, REFERENCE, evaluate_pairs
from nnunet_resunet_ds.evaluation.label_maps import LabelMaps, find_label_maps, undeclared_warnings
from nnunet_resunet_ds.evaluation.metrics_file import read_digests, read_lesions, read_metrics
from nnunet_resunet_ds.evaluation.pairs import Pairs, pair_label_maps
from nnunet_resunet_ds.evaluation.protocols import Protocol, protocol_named
from nnunet_resunet_ds.evaluation.unmatched_lesions import UnmatchedLesion
from nnunet_resunet_ds.evaluation.weights_of_cases import models_warnings, weights_of
from nnunet_resunet_ds.report.default_protocol import default_protocol, in_own_values
from nnunet_resunet_ds.report.image_checks import check_images_are_there, references_among_images
from nnunet_resunet_ds.report.one_case import images_as, label_map_as
from nnunet_resunet_ds.report.page import training_notice, write_page
from nnunet_resunet_ds.report.pictures import DEFAULT_QUALITY
from nnunet_resunet_ds.report.remarks import Certainty, read_prediction_notes
from nnunet_resunet_ds.report.report_case import BEFORE, CaseFiles, CaseToRead, ReportCase, find_images, read_case
from nnunet_resunet_ds.uncertainty.region_certainty import ENTROPY_INSIDE, EXPECTED

MAX_VIEWERS = 100
"""Cases with pictures, unless more are asked for; 100 are about 50 MB."""


@dataclass(frozen=True)
class ReportSettings:
    """What to report, and how. The command and Python share this description.

    Raises:
        InputError: the output is no ``.html`` file, or a number is out of range.
    """

    images: Sequence[Path]
    """Folders of the images that were predicted: raw BraTS cases, or nnU-Net's ``CASE_0000.nii.gz`` …."""
    prediction: Path
    """Folder of label maps, or one label map."""
    output: Path
    """The HTML file to write."""
    reference: Path | None = None
    """Folder of reference label maps; without it the report has volumes and flags, and no scores."""
    metrics: Path | None = None
    """What ``evaluate`` wrote about the predictions; None: evaluate them now."""
    before: Path | None = None
    """Label maps before post-processing, to show what it changed."""
    protocol: str | None = None
    """Evaluate by this protocol and show its regions; None: that of ``metrics``, or see `default_protocol`."""
    prediction_labels: str | None = None
    """What the label values mean, see `find_label_maps`."""
    reference_labels: str | None = None
    """The same for the reference."""
    edition: str = "auto"
    """Of the images, see `detect_edition`."""
    edition_file: Path | None = None
    """The description of a custom edition."""
    quality: int = DEFAULT_QUALITY
    """Of the pictures, 1 to 100."""
    max_viewers: int = MAX_VIEWERS
    """Show pictures of so many cases, the worst first."""
    title: str = "Brain-tumour segmentation"
    """Of the page."""
    skip_invalid: bool = False
    """Leave out what cannot be shown (a case, its pictures or its scores) instead of stopping."""

    def __post_init__(self) -> None:
        check_output_file(self.output, ".html")
        check_whole_number("quality", self.quality, at_least=1, at_most=100)
        check_whole_number("max_viewers", self.max_viewers, at_least=0)

    def label_maps(self) -> dict[str, LabelMaps]:
        """Find `PREDICTION`, and `REFERENCE` and `BEFORE` where they are given.

        Raises:
            InputError: a folder has no label maps, see `find_label_maps`.
        """
        wanted = {
            PREDICTION: (self.prediction, self.prediction_labels),
            REFERENCE: (self.reference, self.reference_labels),
            BEFORE: (self.before, self.prediction_labels),
        }
        found = {which: find_label_maps(path, labels) for which, (path, labels) in wanted.items() if path}
        if not self.prediction.is_file():
            return found
        (case,) = found[PREDICTION].files
        return {which: label_map_as(case, maps) for which, maps in found.items()}


@dataclass(frozen=True)
class Written:
    """What was written."""

    cases: list[ReportCase]
    problems: list[str]
    """A line for each case of which something could not be shown."""


def write_report(settings: ReportSettings, executor: Executor | None = None) -> Written:
    """Write one HTML file about a folder of predictions.

    Args:
        settings: what to report.
        executor: reads and draws the cases; None is a thread for each core.

    Raises:
        InputError: nothing to show, or cases that cannot be shown.
    """
    label_maps = settings.label_maps()
    known = _read_scores(settings.metrics, settings.protocol) if settings.metrics else None
    protocol = known.protocol if known else _protocol(settings, label_maps[PREDICTION])
    label_maps = {which: in_own_values(maps, protocol) for which, maps in label_maps.items()}
    pairs = pair_label_maps(label_maps[REFERENCE], label_maps[PREDICTION]) if REFERENCE in label_maps else None
    if BEFORE in label_maps:
        _check_before(label_maps[BEFORE], label_maps[PREDICTION])
    for which, maps in label_maps.items():
        LOG.info("%s: %s", which, maps.described(protocol))
    for line in pairs.warnings if pairs else _warnings_of_predictions(label_maps[PREDICTION], protocol):
        LOG.warning(line)
    files = _case_files(settings, label_maps, protocol)
    _look_at_images(settings, files)
    scores = known or _evaluated(pairs, protocol, executor)
    if settings.metrics:
        _check_metrics(settings.metrics, label_maps[PREDICTION], scores)
    written = _read_cases(files, scores, settings.max_viewers, executor)
    if written.problems and not (settings.skip_invalid and written.cases):
        raise InputError("\n".join([*written.problems, "leave these out of the report with --skip-invalid"]))
    notice = training_notice(written.cases)
    if notice:
        LOG.warning(notice)
    write_page(written.cases, protocol, settings.title, settings.output, files.notes.expected_dice_errors)
    return written


def _check_before(before: LabelMaps, prediction: LabelMaps) -> None:
    """Refuse label maps of other cases as those before post-processing; warn of those of another model.

    Raises:
        InputError: no case is in both.
    """
    shared = [case for case in prediction.files if case in before.files]
    if not shared:
        msg = f"{before.source}: has none of the cases of {prediction.source}; give what was post-processed as --before"
        raise InputError(msg)
    weights = [weights_of(maps.files[case] for case in shared) for maps in (before, prediction)]
    if all(weights) and weights[0] != weights[1]:
        LOG.warning(
            "%s: was predicted with other weights than %s, so post-processing is not all that differs",
            before.source, prediction.source,
        )  # fmt: skip


def _warnings_of_predictions(predictions: LabelMaps, protocol: Protocol) -> list[str]:
    """Return what the user must know of predictions without a reference."""
    of_models = models_warnings(predictions.source, predictions.files.values())
    return [*undeclared_warnings(predictions, protocol), *of_models]


def _look_at_images(settings: ReportSettings, files: CaseFiles) -> None:
    """Say where a reference lies that was not given.

    Raises:
        InputError: cases have no images, and may not be left out.
    """
    if not settings.skip_invalid:
        check_images_are_there(settings.images, files, settings.max_viewers)
    if settings.reference is None and settings.metrics is None:
        for line in references_among_images(settings.images, files.label_maps[PREDICTION].files):
            LOG.info(line)


def worst_first(
    names: Sequence[str],
    scores: Mapping[str, Metrics],
    protocol: Protocol,
    certainties: Mapping[str, Certainty] = MappingProxyType({}),
) -> list[str]:
    """Sort cases by their mean Dice over regions, lesion-wise where there is; those without a score come last.

    These are sorted by the Dice to expect, and where that is not known, by the entropy in their regions.

    Args:
        names: of the cases.
        scores: of those with a reference.
        protocol: says what they are ranked by.
        certainties: what ``predict`` noted.
    """
    metric = protocol.ranked_by[0]

    def place(name: str) -> tuple[float, float, float, str]:
        certainty = certainties.get(name, {}).values()
        return (
            _mean(region[metric] for region in scores.get(name, {}).values()),
            _mean(region[EXPECTED] for region in certainty if EXPECTED in region),
            -_mean((region[ENTROPY_INSIDE] for region in certainty if ENTROPY_INSIDE in region), none=0),
            name,
        )

    return sorted(names, key=place)


def _mean(values: Iterable[float], none: float = math.inf) -> float:
    """Return the mean of what is a number; where nothing is, that of none."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else none


@dataclass(frozen=True)
class _Scores:
    """The metrics of the cases, and which could not be evaluated."""

    protocol: Protocol
    cases: Mapping[str, Metrics] = field(default_factory=dict)
    lesions: Mapping[str, Sequence[UnmatchedLesion]] = field(default_factory=dict)
    problems: Sequence[str] = ()


def _protocol(settings: ReportSettings, predictions: LabelMaps) -> Protocol:
    """Return what is shown, and scored where there is a reference."""
    return protocol_named(settings.protocol) if settings.protocol else default_protocol(predictions.convention)


def _read_scores(metrics: Path, protocol: str | None) -> _Scores:
    found, cases = read_metrics(metrics)
    if protocol not in (None, found.name):
        msg = f"{metrics}: is of {found.name}, not {protocol}; evaluate again, or leave out --protocol"
        raise InputError(msg)
    return _Scores(found, cases, read_lesions(metrics))


def _evaluated(pairs: Pairs | None, protocol: Protocol, executor: Executor | None) -> _Scores:
    """Evaluate the predictions that have a reference."""
    if pairs is None:
        return _Scores(protocol)
    evaluation = evaluate_pairs(pairs, protocol, executor=executor)
    return _Scores(protocol, evaluation.cases, evaluation.lesions, evaluation.problems)


def _check_metrics(metrics: Path, predictions: LabelMaps, scores: _Scores) -> None:
    """Refuse metrics of other cases or of other label maps than the predictions."""
    files = predictions.files
    unscored = [name for name in sorted(files) if name not in scores.cases]
    if unscored:
        msg = (
            f"{metrics}: has no metrics of {len(unscored)} of {len(files)} cases, such as {unscored[0]}; evaluate again"
        )
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


def _case_files(settings: ReportSettings, label_maps: Mapping[str, LabelMaps], protocol: Protocol) -> CaseFiles:
    folder = settings.prediction if settings.prediction.is_dir() else settings.prediction.parent
    notes = read_prediction_notes(folder)
    images = find_images(settings.images, folder, settings.edition, settings.edition_file, notes.absent)
    first = next(iter(label_maps[PREDICTION].files))
    return CaseFiles(protocol, images_as(first, images, settings.prediction), label_maps, notes, settings.quality)


def _read_cases(files: CaseFiles, scores: _Scores, max_viewers: int, executor: Executor | None) -> Written:
    """Read every case, the first ``max_viewers`` with pictures; go on where a case cannot be read."""
    names = list(files.label_maps[PREDICTION].files)
    certainties = {name: files.notes.certainty(name) for name in names}
    names = worst_first(names, scores.cases, scores.protocol, certainties)
    work = [
        CaseToRead(
            name,
            files.of_case(name),
            scores.cases.get(name, {}),
            with_pictures=number < max_viewers,
            lesions=scores.lesions.get(name, ()),
        )
        for number, name in enumerate(names)
    ]
    outcomes = for_each(work, read_case, "report", executor, name=lambda case: case.name)
    cases, _ = results_and_problems(outcomes)
    problems = {
        case.name: str(outcome) if isinstance(outcome, InputError) else outcome.problem
        for case, outcome in zip(work, outcomes, strict=True)
    }
    by_name = [problems[name] for name in sorted(problems)]
    return Written(cases, list(dict.fromkeys(filter(None, [*scores.problems, *by_name]))))
