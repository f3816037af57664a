"""Telling the edition from file names and case ids. Label values never decide: MSD and BraTS 2023 share theirs."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from dataset_conversion.editions import EDITIONS, Edition
from dataset_conversion.scan import cases_below
from nnunet_resunet_ds.errors import InputError

AUTO = "auto"


def detect_edition(key: str, inputs: Sequence[Path]) -> Edition:
    """Return the edition that ``--edition KEY`` means for these folders.

    Args:
        key: of an edition; a year (``"2023"``) to tell the task from the case ids; or ``"auto"``.
        inputs: folders to search.

    Raises:
        InputError: no such edition; no case; or none or several fit, and several would convert differently.
    """
    candidates = _candidates(key)
    if len(candidates) == 1:
        return candidates[0]
    return _edition_of(_case_ids(inputs, candidates), candidates)


def edition_by_case_ids(key: str, case_ids: Iterable[str]) -> Edition:
    """Return the edition that ``--edition KEY`` means for cases of these ids; see `detect_edition`.

    Raises:
        InputError: no such edition; or none or several fit, and several would convert differently.
    """
    candidates = _candidates(key)
    return candidates[0] if len(candidates) == 1 else _edition_of(case_ids, candidates)


def _candidates(key: str) -> list[Edition]:
    if key in EDITIONS:
        return [EDITIONS[key]]
    found = [edition for name, edition in EDITIONS.items() if key == AUTO or name.startswith(f"{key}-")]
    if not found:
        msg = f"no edition {key!r}; valid are {AUTO}, {', '.join(EDITIONS)}"
        raise InputError(msg)
    return found


def _case_ids(inputs: Sequence[Path], editions: Iterable[Edition]) -> set[str]:
    by_suffixes = {(tuple(e.image_suffixes.values()), e.segmentation_suffix): e for e in editions}
    ids: set[str] = set()
    for source in inputs:
        found = {case.case_id for edition in by_suffixes.values() for case in cases_below(source, edition)}
        if not found:
            msg = (
                f"{source}: no BraTS case here; expected folders of files such as BraTS2021_00000_t1ce.nii.gz or "
                "BraTS-GLI-00000-000-t1c.nii.gz"
            )
            raise InputError(msg)
        ids |= found
    return ids


def _edition_of(case_ids: Iterable[str], candidates: Iterable[Edition]) -> Edition:
    ids = sorted(case_ids)
    misfits = {edition.key: [case for case in ids if not edition.case_id.fullmatch(case)] for edition in candidates}
    fitting = [EDITIONS[key] for key, misfit in misfits.items() if not misfit]
    if fitting and all(edition.conventions == fitting[0].conventions for edition in fitting):
        return fitting[0]
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
    msg = f"cannot tell the edition: {why}; name it with --edition, one of {', '.join(EDITIONS)}"
    raise InputError(msg)
