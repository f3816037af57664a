"""Finding and checking a whole cohort: what ``convert`` does before it writes, all that ``convert --check`` does."""

from collections.abc import Container, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dataset_conversion.detect import AUTO, Decision, detect_edition, doubts
from dataset_conversion.edition import Edition
from dataset_conversion.find import find_cases
from dataset_conversion.inspection import CaseReport, inspect_case
from dataset_conversion.scan import RawCase
from dataset_conversion.validate import cohort_problems, name_problems
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.parallel import for_each


@dataclass(frozen=True)
class Cohort:
    """What was found below the input folders."""

    inputs: list[Path]
    decision: Decision
    cases: list[RawCase]


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
    executor: Executor | None = None,
) -> CohortReport:
    """Check every file of a cohort and write nothing.

    Args:
        inputs: folders to search for cases.
        edition: see `detect_edition`.
        edition_file: the description of a custom edition.
        executor: who opens the files; None is a thread for each core.

    Raises:
        InputError: no cohort can be found.
    """
    return inspect_cohort(find_cohort(inputs, edition, edition_file), executor)


def find_cohort(inputs: Sequence[Path | str], edition: str, edition_file: Path | None) -> Cohort:
    """Decide on the edition and find the cases.

    Raises:
        InputError: no input, no edition, or no case.
    """
    folders = [Path(folder) for folder in inputs]
    if not folders:
        msg = "no input folder given"
        raise InputError(msg)
    decision = detect_edition(edition, folders, edition_file)
    cases = find_cases(folders, decision.edition)
    doubt = doubts(decision.edition, [case.case_id for case in cases])
    return Cohort(
        folders, replace(decision, reason=f"{decision.reason}; warning: {doubt}") if doubt else decision, cases
    )


def inspect_cohort(
    cohort: Cohort, executor: Executor | None, *, known_valid: Container[str] = (), open_files: bool = True
) -> CohortReport:
    """Check how the cases fit together and, unless told otherwise, every file of those not known to be valid."""
    edition = cohort.decision.edition
    problems = cohort_problems(cohort.cases, edition)
    unknown = [case for case in cohort.cases if case.case_id not in known_valid and not name_problems(case)]
    reports = _inspected(unknown, edition, executor) if open_files and unknown else {}
    for case_id, report in reports.items():
        if report.problems:
            problems.setdefault(case_id, []).extend(report.problems)
    return CohortReport(cohort, reports, problems)


def _inspected(cases: Sequence[RawCase], edition: Edition, executor: Executor | None) -> dict[str, CaseReport]:
    work = partial(inspect_case, edition=edition)
    outcomes = for_each(cases, work, "check", executor, name=lambda case: case.case_id)
    return {
        case.case_id: CaseReport([str(outcome)]) if isinstance(outcome, InputError) else outcome
        for case, outcome in zip(cases, outcomes, strict=True)
    }
