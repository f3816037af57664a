"""Group the cases of a prediction by the sequences that they lacked, which run.json notes, and summarise each group."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.case_notes import ABSENT
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.run_file import RUN, entries_of
from nnunet_resunet_ds.evaluation.statistics import Cases, Summary, summarise

COMPLETE, UNKNOWN = "all sequences", "not noted"


@dataclass(frozen=True)
class Group:
    """The cases that lacked the same sequences."""

    title: str
    """``all sequences``, ``without T2``, ``without T1, T2`` …, or ``not noted``."""
    absent: tuple[str, ...] | None
    """Names of sequences; None where nothing says it."""
    cases: tuple[str, ...]


def group_by_sequences(files: Mapping[str, Path]) -> list[Group]:
    """Group label maps by the sequences that their cases lacked: complete ones first, unknown ones last.

    Args:
        files: case → its label map; ``run.json`` in the same folder says what was absent.

    Raises:
        InputError: run.json says it in another form than ours.
    """
    members: dict[tuple[str, ...] | None, list[str]] = {}
    for case, absent in absent_sequences(files).items():
        members.setdefault(absent, []).append(case)
    order = sorted(members, key=lambda absent: (absent is None, len(absent or ()), absent or ()))
    return [Group(_title(absent), absent, tuple(members[absent])) for absent in order]


def absent_sequences(files: Mapping[str, Path]) -> dict[str, tuple[str, ...] | None]:
    """Return case → the names of the sequences that it lacked, sorted; None where run.json does not say it."""
    entries = entries_of(files.values())
    noted = {case: entries.get(file, {}).get(ABSENT) for case, file in files.items()}
    return {
        case: None if absent is None else _checked(absent, case, files[case].with_name(RUN))
        for case, absent in noted.items()
    }


def _checked(absent: Any, case: str, path: Path) -> tuple[str, ...]:  # noqa: ANN401 (JSON may hold anything)
    if isinstance(absent, list) and all(isinstance(name, str) for name in absent):
        return tuple(sorted(absent))
    msg = f'{path}: {ABSENT!r} of {case} must be a list of sequences, such as ["T2"]; predict it again'
    raise InputError(msg)


def _title(absent: tuple[str, ...] | None) -> str:
    if absent is None:
        return UNKNOWN
    return f"without {', '.join(absent)}" if absent else COMPLETE


def summarise_groups(groups: Sequence[Group], cases: Cases) -> list[tuple[Group, Summary]]:
    """Return each group with the statistics of its evaluated cases; a group without any is left out."""
    evaluated = [replace(group, cases=tuple(case for case in group.cases if case in cases)) for group in groups]
    return [(group, summarise({case: cases[case] for case in group.cases})) for group in evaluated if group.cases]
