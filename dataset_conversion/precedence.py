"""Say which of several files of one role is taken: a correction before what it corrects, then the preferred suffix."""

import os
from pathlib import Path

from dataset_conversion.editions import RAW_ENDINGS, Edition


def precedence(path: Path, role: str, edition: Edition) -> tuple[bool, int]:
    """Return what to sort files of one role by: the first is taken, and those that are equal to it are its rivals."""
    if edition.bare_names:
        return not is_correction(path, edition), 0
    stem = stem_of(path.name) or ""
    fitting = {suffix: len(suffix) for suffix in edition.suffixes_of(role) if has_suffix(stem, suffix)}
    number = edition.suffixes_of(role).index(max(fitting, key=fitting.__getitem__)) if fitting else 0
    return not is_correction(path, edition), number


def is_correction(path: Path, edition: Edition) -> bool:
    """Tell whether a file lies, at any depth, in a folder of corrections."""
    return edition.corrections is not None and any(map(edition.corrections.fullmatch, folder_names(path.parent)))


def folder_names(folder: Path) -> tuple[str, ...]:
    """Return the names of a folder and of all that it lies in; a link has its own name."""
    return Path(os.path.abspath(folder)).parts  # noqa: PTH100 (resolve() follows links)


def stem_of(name: str) -> str | None:
    """Return a file name without its ending; None for what is no image file."""
    ending = next((ending for ending in RAW_ENDINGS if name.lower().endswith(ending)), None)
    return None if ending is None else name[: -len(ending)]


def has_suffix(stem: str, suffix: str) -> bool:
    """Tell whether a name ends in a suffix, in upper or lower case, with a case id before it."""
    return stem.lower().endswith(suffix.lower()) and len(stem) > len(suffix)
