"""Write a report: find the cases, read them with the worst first, and lay out the page."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import digest
from nnunet_resunet_ds.base.log import LOG, warn_each
from nnunet_resunet_ds.base.parallel import for_each, results_and_problems
from nnunet_resunet_ds.base.run_file import notes_on_unmade
from nnunet_resunet_ds.evaluation.case_metrics import Metrics
from nnunet_resunet_ds.evaluation.cohort_metrics import PREDICTION, REFERENCE, evaluate_pairs
from nnunet_resunet_ds.evaluation.label_maps import LabelMaps, undeclared_warnings
from nnunet_resunet_ds.evaluation.metrics_file import MetricsFile, read_metrics
from nnunet_resunet_ds.evaluation.pairs import Pairs, pair_label_maps
from nnunet_resunet_ds.evaluation.protocols import Protocol, protocol_named
from nnunet_resunet_ds.evaluation.run_notes import models_warnings, weights_of
from nnunet_resunet_ds.evaluation.unmatched_lesions import UnmatchedLesion
from nnunet_resunet_ds.report.case_files import BEFORE, CaseFiles
from nnunet_resunet_ds.report.default_protocol import default_protocol, in_own_values
from nnunet_resunet_ds.report.find_images import find_images
from nnunet_resunet_ds.report.image_checks import check_images_are_there, references_among_images
from nnunet_resunet_ds.report.one_case import images_as, images_given, other_images_warnings
from nnunet_resunet_ds.report.page import training_notice, write_page
from nnunet_resunet_ds.report.remarks import read_prediction_notes
from nnunet_resunet_ds.report.report_case import CaseToRead, ReportCase, read_case
from nnunet_resunet_ds.report.report_settings import ReportSettings
from nnunet_resunet_ds.report.worst_first import worst_first


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
    metrics = _read_metrics(settings.metrics, settings.protocol) if settings.metrics else None
    known = _Scores(metrics.protocol, metrics.cases, metrics.lesions()) if metrics else None
    protocol = known.protocol if known else _protocol(settings, label_maps[PREDICTION])
    label_maps = {which: in_own_values(maps, protocol) for which, maps in label_maps.items()}
    pairs = pair_label_maps(label_maps[REFERENCE], label_maps[PREDICTION]) if REFERENCE in label_maps else None
    if BEFORE in label_maps:
        _check_before(label_maps[BEFORE], label_maps[PREDICTION])
    for which, maps in label_maps.items():
        LOG.info("%s: %s", which, maps.described(protocol))
    warn_each(notes_on_unmade(settings.prediction) if settings.prediction.is_dir() else ())
    warn_each(pairs.warnings if pairs else _warnings_of_predictions(label_maps[PREDICTION], protocol))
    files = _case_files(settings, label_maps, protocol)
    _look_at_images(settings, files)
    scores = known or _evaluated(pairs, protocol, executor)
    if metrics:
        _check_is_of(metrics, label_maps)
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


def _read_metrics(path: Path, protocol: str | None) -> MetricsFile:
    metrics = read_metrics(path)
    if protocol not in (None, metrics.protocol.name):
        msg = f"{path}: is of {metrics.protocol.name}, not {protocol}; evaluate again, or leave out --protocol"
        raise InputError(msg)
    return metrics


def _evaluated(pairs: Pairs | None, protocol: Protocol, executor: Executor | None) -> _Scores:
    """Evaluate the predictions that have a reference."""
    if pairs is None:
        return _Scores(protocol)
    evaluation = evaluate_pairs(pairs, protocol, executor=executor)
    return _Scores(protocol, evaluation.cases, evaluation.lesions, evaluation.problems)


def _check_is_of(metrics: MetricsFile, label_maps: Mapping[str, LabelMaps]) -> None:
    """Refuse metrics of other cases than the predictions, or of other label maps or references than are shown."""
    files, path = label_maps[PREDICTION].files, metrics.path
    unscored = [name for name in sorted(files) if name not in metrics.cases]
    if unscored:
        msg = f"{path}: has no metrics of {len(unscored)} of {len(files)} cases, such as {unscored[0]}; evaluate again"
        raise InputError(msg)
    if not metrics.digests:
        LOG.warning("%s: does not say of which label maps it is; evaluate again if they have changed since", path)
    shown = [(which, label_maps[which].files) for which in (PREDICTION, REFERENCE) if which in label_maps]
    for name, of_case in metrics.digests.items():
        for which, there in shown:
            if name in files and name in there and of_case.get(which) != digest(there[name]):
                msg = (
                    f"{path}: was made from another {'label map' if which == PREDICTION else which} of {name} than "
                    f"{there[name]}; evaluate again, or leave --metrics out"
                )
                raise InputError(msg)


def _case_files(settings: ReportSettings, label_maps: Mapping[str, LabelMaps], protocol: Protocol) -> CaseFiles:
    folder = settings.prediction if settings.prediction.is_dir() else settings.prediction.parent
    notes = read_prediction_notes(folder)
    predictions = label_maps[PREDICTION]
    if settings.image_files:
        images = images_given(settings.image_files, predictions)
    else:
        found = find_images(settings.images, folder, settings.edition, settings.edition_file, notes.absent)
        images = images_as(next(iter(predictions.files)), found, settings.prediction)
        warn_each(other_images_warnings(images, predictions))
    return CaseFiles(protocol, images, label_maps, notes, settings.quality)


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
