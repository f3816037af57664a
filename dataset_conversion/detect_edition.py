"""Tell the edition from file names and case ids. Label values never decide: MSD and BraTS 2023 share theirs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset_conversion.custom_edition import CUSTOM, read_custom_edition
from dataset_conversion.editions import EDITIONS, Edition
from dataset_conversion.find_cases import case_ids_below
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.file_formats import found_instead

AUTO = "auto"


@dataclass(frozen=True)
class Decision:
    """What files are read as."""

    edition: Edition
    reason: str
    """For the user, after the edition's title."""


def detect_edition(key: str, inputs: Sequence[Path], edition_file: Path | None = None) -> Decision:
    """Decide what ``--edition KEY --edition-file FILE`` means for these folders.

    Args:
        key: of an edition; a year (``"2023"``) to tell the task from the case ids; ``"auto"``; or ``"custom"``.
        inputs: folders to search.
        edition_file: the description of a custom edition.

    Raises:
        InputError: no such edition; no case; or none or several fit, and several would convert differently.
    """
    return _named(key, edition_file) or _told(_case_ids(inputs, _candidates(key)), _candidates(key))


def edition_by_case_ids(key: str, case_ids: Iterable[str], edition_file: Path | None = None) -> Decision:
    """Decide what ``--edition KEY --edition-file FILE`` means for cases of these ids; see `detect_edition`.

    Raises:
        InputError: no such edition; or none or several fit, and several would convert differently.
    """
    return _named(key, edition_file) or _told(case_ids, _candidates(key))


def _named(key: str, edition_file: Path | None) -> Decision | None:
    """Return the edition that the user has named whole, if any."""
    if edition_file is not None:
        if key not in (AUTO, CUSTOM):
            msg = f"--edition {key} and --edition-file say two things; leave one of them out"
            raise InputError(msg)
        return Decision(read_custom_edition(edition_file), f"as {edition_file} describes it")
    if key == CUSTOM:
        msg = "describe the custom edition in a file and name it with --edition-file (an example: docs/editions.md)"
        raise InputError(msg)
    return Decision(EDITIONS[key], "as you said") if key in EDITIONS else None


def doubts(edition: Edition, case_ids: Sequence[str]) -> str | None:
    """Say why case ids do not look like those of an edition that was named; None where they do, or tell nothing."""
    if not case_ids or any(edition.case_id.fullmatch(case_id) for case_id in case_ids):
        return None
    if edition.key == CUSTOM:
        return f"no case id fits {edition.case_id.pattern!r} (such as {case_ids[0]}), so patients are not told apart"
    others = [
        other.title
        for other in EDITIONS.values()
        if other.conventions != edition.conventions and other.case_id.fullmatch(case_ids[0])
    ]
    return f"{case_ids[0]} looks like {' or '.join(others)}, which means other things by its labels" if others else None


def _candidates(key: str) -> list[Edition]:
    found = [edition for name, edition in EDITIONS.items() if key == AUTO or name.startswith(f"{key}-")]
    if not found:
        msg = f"no edition {key!r}; valid are {AUTO}, {', '.join(EDITIONS)}, {CUSTOM}"
        raise InputError(msg)
    return found


def _case_ids(inputs: Sequence[Path], editions: Iterable[Edition]) -> set[str]:
    by_layout = {edition.layout: edition for edition in editions}
    ids: set[str] = set()
    for source in inputs:
        found = {case_id for edition in by_layout.values() for case_id in case_ids_below(source, edition)}
        if not found:
            msg = (
                f"{source}: no BraTS case here; expected folders of files such as BraTS2021_00000_t1ce.nii.gz or "
                f"BraTS-GLI-00000-000-t1c.nii.gz{found_instead(source)}"
            )
            raise InputError(msg)
        ids |= found
    return ids


def _told(case_ids: Iterable[str], candidates: Iterable[Edition]) -> Decision:
    ids = sorted(case_ids)
    misfits = {edition.key: [case for case in ids if not edition.case_id.fullmatch(case)] for edition in candidates}
    fitting = [EDITIONS[key] for key, misfit in misfits.items() if not misfit]
    if fitting and all(edition.conventions == fitting[0].conventions for edition in fitting):
        alike = "".join(f", {edition.title} would be read the same" for edition in fitting[1:])
        return Decision(fitting[0], f"told from the case ids, all {len(ids)} are like {ids[0]}{alike}")
    if fitting:
        keys = " or ".join(edition.key for edition in fitting)
        msg = f"cases such as {ids[0]} fit editions with different label values; say which it is with --edition {keys}"
        raise InputError(msg)
    nearest = min(misfits, key=lambda key: len(misfits[key]))
    n_fitting = len(ids) - len(misfits[nearest])
    odd = misfits[nearest][0]
    why = (
        f"{odd} is not of {nearest}, as {n_fitting} of {len(ids)} cases are"
        if n_fitting
        else f"{odd} is of none we know"
    )
    msg = f"cannot tell the edition: {why}; name it with --edition, one of {', '.join(EDITIONS)}, {CUSTOM}"
    raise InputError(msg)
