"""Find and check a whole cohort: all that ``convert --check`` does, and the first half of ``convert``."""

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dataset_conversion.detect_edition import AUTO, Decision, detect_edition, edition_doubts
from dataset_conversion.editions import SEGMENTATION, Edition
from dataset_conversion.find_cases import RawCase, find_cases
from dataset_conversion.inspect_case import CaseReport, inspect_case
from dataset_conversion.precedence import is_correction
from dataset_conversion.sequences import optional_channels
from nnunet_resunet_ds.base.counted import counted
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.parallel import for_each
from nnunet_resunet_ds.base.text_table import aligned

MAX_ID_BYTES = 230
"""A file name has at most 255 bytes, and ours are longer than the case id by the channel, the ending and a prefix."""


def cohort_problems(
    cases: Sequence[RawCase],
    edition: Edition,
    channels: Sequence[str] | None = None,
    allow_missing: Collection[str] = (),
) -> dict[str, list[str]]:
    """Return what is wrong with how files and cases fit together, by case id, without opening a file.

    A folder of cases in which none has a segmentation is a test set. In any other, a missing segmentation is a
    problem: it is far more often a broken download than a wish.

    Args:
        cases: of one edition.
        edition: whose file names to say.
        channels: that every case needs; None is all that the edition has.
        allow_missing: those of them that a case may lack, if it has another.
    """
    wanted = edition.channels if channels is None else channels
    needed = [name for name in wanted if name not in allow_missing]
    problems: dict[str, list[str]] = defaultdict(list)
    labelled_sources = {case.source for case in cases if case.segmentation}
    folders: dict[str, Path] = {}
    for case in cases:
        found = problems[case.case_id]
        if case.case_id in folders:  # of an edition that names its folders; of others they were joined
            both = f"{folders[case.case_id]} and {case.folder} both have case {case.case_id}"
            found.append(f"{both}, and their files differ: keep the right ones and move the others out of the inputs")
        folders[case.case_id] = case.folder
        found += [*name_problems(case), *_rival_problems(case)]
        found += _missing_images(case, needed if case.images else wanted, edition)
        if case.segmentation is None and case.source in labelled_sources:
            advice = "add it, or give unlabelled cases as an input folder of their own"
            found.append(f"{_missing(case, SEGMENTATION, edition)}; {advice}")
    return {case_id: list(dict.fromkeys(found)) for case_id, found in problems.items() if found}


def name_problems(case: RawCase) -> list[str]:
    """Refuse case ids that are dangerous as file names, and paths that would end the process inside SimpleITK."""
    try:
        n_bytes = len(case.case_id.encode())
        "".join(map(str, case.files)).encode()
    except UnicodeEncodeError:
        return [f"{case.folder / case.case_id!r}: a name is not UTF-8; rename the files"]
    if case.case_id.startswith("-") or "\\" in case.case_id or not case.case_id.isprintable():
        return [f"{case.folder}: case id {case.case_id!r} starts with - or holds \\ or control characters; rename it"]
    if n_bytes > MAX_ID_BYTES:
        return [f"{case.folder}: case id {case.case_id} has {n_bytes} bytes, {MAX_ID_BYTES} fit; rename the files"]
    return []


def _rival_problems(case: RawCase) -> list[str]:
    """Return a line about the files of which the user alone can say which one is meant."""
    pairs = [(role, rival) for role, rivals in case.rivals.items() for rival in rivals]
    if not pairs:
        return []
    named = [f"{case.roles[role]} and {rival}" for role, rival in pairs]
    roles = ["the segmentation" if role == SEGMENTATION else role for role, _ in pairs]
    more = "".join(f", so do {files} ({role})" for files, role in zip(named[1:], roles[1:], strict=True))
    advice = "keep the right one and move the other out of the inputs"
    return [f"{named[0]} are both {roles[0]} of case {case.case_id} and differ{more}: {advice}"]


def _missing_images(case: RawCase, channels: Sequence[str], edition: Edition) -> list[str]:
    """Return a line about those of the channels that a case lacks, and one for each whose name a folder has."""
    needed = f"all of {', '.join(channels)} are needed" if len(channels) > 1 else f"{', '.join(channels)} is needed"
    unknown = [channel for channel in channels if channel not in edition.channels]
    lacking = [channel for channel in edition.channels if channel in channels and channel not in case.images]
    taken = [channel for channel in lacking if _folder_of_that_name(case, channel, edition)]
    absent = [channel for channel in lacking if channel not in taken]
    names = {channel: edition.file_name(case.case_id, channel) for channel in absent}
    if len(set(names.values())) > 1:
        listed = ", ".join(f"{channel} ({name})" for channel, name in names.items())
        lines = [f"{_place(case)}: case {case.case_id} lacks {listed}"]
    else:
        lines = [_missing(case, channel, edition) for channel in absent]
    lines += [_missing(case, channel, edition) for channel in taken]
    lines += [f"{_place(case)}: {edition.title} has no {', '.join(unknown)}"] if unknown else []
    advice = _advice_on_absence([*lacking, *unknown], edition)
    return [f"{line}; {needed}{advice}" for line in dict.fromkeys(lines)]


def _advice_on_absence(lacking: Sequence[str], edition: Edition) -> str:
    """Name the way to take cases that lack nothing but what their release does not guarantee."""
    if not set(lacking) <= set(edition.not_guaranteed):
        return ""
    return f"; {edition.title} has cases without it, which --allow-missing {','.join(lacking)} takes"


def _missing(case: RawCase, role: str, edition: Edition) -> str:
    folder = _folder_of_that_name(case, role, edition)
    if folder:
        return f"{folder}: is a folder, not a file: move the file out of it"
    if len({path.parent for path in case.files}) > 1 and not edition.folders:
        return f"{_place(case)}: no {edition.file_name(case.case_id, role)} in it or below"
    return f"{_expected(case, role, edition)}: missing"


def _folder_of_that_name(case: RawCase, role: str, edition: Edition) -> Path | None:
    """Return the folder that has the name which a file should have: some copies unpack into such."""
    file = _expected(case, role, edition)
    return next((path for path in (file, file.with_suffix("")) if path.is_dir()), None)


def _expected(case: RawCase, role: str, edition: Edition) -> Path:
    folder = edition.folders.get(case.folder.name) if role == SEGMENTATION else None
    return (case.folder.with_name(folder) if folder else case.folder) / edition.file_name(case.case_id, role)


def _place(case: RawCase) -> Path:
    """Return the folder that holds all files of a case."""
    return Path(os.path.commonpath([path.parent for path in case.files] or [case.folder]))


@dataclass(frozen=True)
class Cohort:
    """What was found below the input folders."""

    inputs: list[Path]
    decision: Decision
    cases: list[RawCase]
    allow_missing: tuple[str, ...] = ()
    """Channels that a case may lack."""


@dataclass(frozen=True)
class CohortReport:
    """What came out of checking a cohort."""

    cohort: Cohort
    reports: dict[str, CaseReport]
    """Case id → what its files say, of the cases that were inspected."""
    problems: dict[str, list[str]]
    """Case id → why it cannot be converted."""

    @property
    def valid(self) -> list[RawCase]:
        """The cases without a problem."""
        return [case for case in self.cohort.cases if case.case_id not in self.problems]


def check(
    inputs: Sequence[Path | str],
    edition: str = AUTO,
    *,
    edition_file: Path | None = None,
    allow_missing: Collection[str] = (),
    executor: Executor | None = None,
) -> CohortReport:
    """Check every file of a cohort and write nothing.

    Args:
        inputs: folders to search for cases.
        edition: see `detect_edition`.
        edition_file: the description of a custom edition.
        allow_missing: sequences that a case may lack, such as ``("T2",)``.
        executor: who opens the files; None is a thread for each core.

    Raises:
        InputError: no cohort can be found.
    """
    return inspect_cohort(find_cohort(inputs, edition, edition_file, allow_missing), executor)


def find_cohort(
    inputs: Sequence[Path | str], edition: str, edition_file: Path | None, allow_missing: Collection[str] = ()
) -> Cohort:
    """Decide on the edition and find the cases; the arguments are those of `check`.

    Raises:
        InputError: no input, no edition, no case, or no such sequence.
    """
    folders = [Path(folder) for folder in inputs]
    if not folders:
        msg = "no input folder given"
        raise InputError(msg)
    decision = detect_edition(edition, folders, edition_file)
    optional = optional_channels(allow_missing, decision.edition.channels)
    cases = [replace(case, optional=optional) for case in find_cases(folders, decision.edition)]
    doubt = edition_doubts(decision.edition, [case.case_id for case in cases])
    if doubt:
        decision = replace(decision, reason=f"{decision.reason}; warning: {doubt}")
    return Cohort(folders, decision, cases, optional)


def inspect_cohort(
    cohort: Cohort,
    executor: Executor | None,
    *,
    known_valid: Container[str] = (),
    open_files: bool = True,
    keep_labels: bool = False,
) -> CohortReport:
    """Check how the cases fit together and, unless told otherwise, every file of those not known to be valid.

    Args:
        cohort: what was found.
        executor: who opens the files.
        known_valid: ids of cases whose files are not opened.
        open_files: of the others.
        keep_labels: translate the label maps, too; see `inspect_case`.
    """
    edition = cohort.decision.edition
    problems = cohort_problems(cohort.cases, edition, allow_missing=cohort.allow_missing)
    unknown = [case for case in cohort.cases if case.case_id not in known_valid and not name_problems(case)]
    reports = (
        _inspected(unknown, partial(inspect_case, edition=edition, keep_labels=keep_labels), executor)
        if open_files and unknown
        else {}
    )
    for case_id, report in reports.items():
        if report.problems:
            problems.setdefault(case_id, []).extend(report.problems)
    return CohortReport(cohort, reports, problems)


def _inspected(
    cases: Sequence[RawCase], work: Callable[[RawCase], CaseReport], executor: Executor | None
) -> dict[str, CaseReport]:
    outcomes = for_each(cases, work, "check", executor, name=lambda case: case.case_id)
    return {
        case.case_id: CaseReport([str(outcome)]) if isinstance(outcome, InputError) else outcome
        for case, outcome in zip(cases, outcomes, strict=True)
    }


MAX_CASES_SHOWN = 3
"""Of each kind of warning."""


def census_table(voxels: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Lay out which tissues the labelled cases have.

    Args:
        voxels: case id → tissue → voxels; empty for a case without segmentation.
    """
    labelled = [counts for counts in voxels.values() if counts]
    if not labelled:
        return []
    total = max(sum(sum(counts.values()) for counts in labelled), 1)
    rows = [("tissue", "cases", "voxels", "of the tumour")]
    for tissue in labelled[0]:
        n_voxels = sum(counts[tissue] for counts in labelled)
        n_cases = sum(counts[tissue] > 0 for counts in labelled)
        rows.append((tissue, f"{n_cases}", f"{n_voxels}", f"{n_voxels / total:.1%}"))
    return aligned(rows, numbers_from=1)


def correction_lines(cases: Sequence[RawCase], edition: Edition) -> list[str]:
    """Return a line about the files that corrected ones take the place of; none where there are none."""
    corrected = [
        (role, case.roles[role], others[0])
        for case in cases
        for role, others in case.superseded.items()
        if is_correction(case.roles[role], edition) and not is_correction(others[0], edition)
    ]
    if not corrected:
        return []
    n_labels = sum(role == SEGMENTATION for role, _, _ in corrected)
    _, used, other = corrected[0]
    n_images = len(corrected) - n_labels
    return [f"corrected files are taken for {n_labels} label maps and {n_images} images, such as {used} for {other}"]


def absence_lines(absent: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a line for each sequence that cases lack, with the number of cases and the first of them.

    Args:
        absent: case id → channels that it lacks.
    """
    cases: dict[str, list[str]] = defaultdict(list)
    for case_id, channels in absent.items():
        for channel in channels:
            cases[channel].append(case_id)
    return [f"without {channel}: {_counted(case_ids)}; zeros stand for it" for channel, case_ids in cases.items()]


def _counted(cases: Sequence[str]) -> str:
    """Return how many cases, and the first of them."""
    shown = ", ".join(cases[:MAX_CASES_SHOWN])
    return f"{counted(len(cases), 'case')}, {shown}{', …' if len(cases) > MAX_CASES_SHOWN else ''}"


def copy_lines(digests: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return a line for each set of cases that have the same image, byte for byte: one patient under several names.

    Args:
        digests: case id → channel → SHA-256 of its image.
    """
    cases: dict[tuple[str, str], list[str]] = defaultdict(list)
    for case_id, of_case in digests.items():
        for channel, digest in of_case.items():
            cases[channel, digest].append(case_id)
    channels: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for (channel, _), case_ids in cases.items():
        if len(case_ids) > 1:
            channels[tuple(case_ids)].append(channel)
    return [
        f"warning: the same images in several cases: {' and '.join(case_ids)} ({', '.join(names)}). Keep one of them: "
        "of one patient under several names, some can be for training and others for validation"
        for case_ids, names in channels.items()
    ]


def repair_lines(repairs: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a line with the number of cases of which something was repaired; none where nothing was."""
    repaired = [case_id for case_id, lines in repairs.items() if lines]
    return [f"repaired: {_counted(repaired)}; conversion.json says what"] if repaired else []


def orientation_lines(orientations: Mapping[str, str | None]) -> list[str]:
    """Return a line where the axes of some cases are stored in another order or direction than those of most.

    Args:
        orientations: case id → where its axes point, such as LPS; None where it was not looked at.
    """
    cases: dict[str, list[str]] = defaultdict(list)
    for case_id, stored in orientations.items():
        if stored is not None:
            cases[stored].append(case_id)
    usual, *others = sorted(cases, key=lambda stored: len(cases[stored]), reverse=True) or [""]
    if not others:
        return []
    odd = "; ".join(f"{stored}: {_counted(cases[stored])}" for stored in others)
    return [
        f"warning: axes stored otherwise than {usual}, as most cases have them: {odd}. nnU-Net takes the axes as they "
        "are stored, so the network sees these heads turned or mirrored: store all alike, those to predict as well"
    ]


def warning_lines(warnings: Mapping[str, list[str]]) -> list[str]:
    """Return a line for each kind of warning, with the number of cases and the first of them.

    Args:
        warnings: case id → ``KIND: detail``.
    """
    cases: dict[str, dict[str, str]] = defaultdict(dict)
    for case_id, found in warnings.items():
        for warning in found:
            kind, _, detail = warning.partition(": ")
            cases[kind].setdefault(case_id, detail)
    return [_line(kind, details) for kind, details in sorted(cases.items())]


def _line(kind: str, details: Mapping[str, str]) -> str:
    """Name the cases of a kind of warning, each with what is said of it, or once what is said of all alike."""
    if len(set(details.values())) == 1:
        return f"warning: {kind}: {_counted(list(details))} ({next(iter(details.values()))})"
    return f"warning: {kind}: {_counted([f'{case_id} ({detail})' for case_id, detail in details.items()])}"
