"""Checking how the files of a cohort fit together, before any is opened or anything written."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

from dataset_conversion.edition import SEGMENTATION, Edition
from dataset_conversion.scan import RawCase

MAX_ID_BYTES = 230
"""A file name has at most 255 bytes, and ours are longer than the case id by the channel, the ending and a prefix."""


def cohort_problems(
    cases: Sequence[RawCase], edition: Edition, channels: Collection[str] | None = None
) -> dict[str, list[str]]:
    """Return what is wrong with how files and cases fit together, by case id, without opening a file.

    A folder of cases in which none has a segmentation is a test set. In any other, a missing segmentation is a
    problem: it is far more often a broken download than a wish.

    Args:
        cases: of one edition.
        edition: whose file names to say.
        channels: that every case needs; None is all that the edition has.
    """
    needed = [name for name in edition.image_suffixes if channels is None or name in channels]
    problems: dict[str, list[str]] = defaultdict(list)
    labelled_sources = {case.source for case in cases if case.segmentation}
    folders: dict[str, Path] = {}
    for case in cases:
        found = problems[case.case_id]
        if case.case_id in folders:
            found.append(f"{case.folder}: case {case.case_id} is also in {folders[case.case_id]}; remove one of them")
        folders[case.case_id] = case.folder
        found += name_problems(case)
        found += [f"{path}: a second file that could be meant; remove it or the other" for path in case.rivals]
        found += [
            f"{_missing(case, channel, edition)}; all of {', '.join(needed)} are needed"
            for channel in needed
            if channel not in case.images
        ]
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


def _missing(case: RawCase, role: str, edition: Edition) -> str:
    folder = edition.folders.get(case.folder.name) if role == SEGMENTATION else None
    file = (case.folder.with_name(folder) if folder else case.folder) / edition.file_name(case.case_id, role)
    folders = [path for path in (file, file.with_suffix("")) if path.is_dir()]  # some copies unpack into such
    return f"{folders[0]}: is a folder, not a file: move the file out of it" if folders else f"{file}: missing"
