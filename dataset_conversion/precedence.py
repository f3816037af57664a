"""Say which of several files of one role is taken: a correction before what it corrects, then the preferred suffix."""

import os
from collections.abc import Iterable
from pathlib import Path

from dataset_conversion.editions import RAW_ENDINGS, Edition


def precedence(path: Path, role: str, edition: Edition) -> tuple[bool, int]:
    """Return what to sort files of one role by: the first is taken, and those that are equal to it are its rivals."""
    suffixes = edition.suffixes_of(role)
    suffix = None if edition.bare_names else longest_suffix(stem_of(path.name) or "", suffixes)
    return not is_correction(path, edition), 0 if suffix is None else suffixes.index(suffix)


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


def longest_suffix(stem: str, suffixes: Iterable[str]) -> str | None:
    """Return the longest of these suffixes that a name ends in, see `has_suffix`; None where it ends in none."""
    return max((suffix for suffix in suffixes if has_suffix(stem, suffix)), key=len, default=None)
