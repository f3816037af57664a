"""Check single settings from a command line or a JSON file, and name them in the message."""

import math
import re
from collections.abc import Iterable, Sequence

from nnunet_resunet_ds.base.errors import InputError


def check_whole_number(name: str, value: object, *, at_least: int, at_most: float = math.inf) -> None:
    """Check that a setting is an int in the given range; a bool is no number here.

    Raises:
        InputError: with the name, the limit and what was got.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not at_least <= value <= at_most:
        msg = f"{name} must be a whole number {_range(at_least, at_most)}; got {value!r}"
        raise InputError(msg)


def check_number(name: str, value: object, *, at_least: float = 0, at_most: float = math.inf) -> None:
    """Check that a setting is a finite number in the given range.

    Raises:
        InputError: with the name, the range and what was got.
    """
    if not _is_finite(value) or not at_least <= value <= at_most:  # type: ignore[operator]
        msg = f"{name} must be a number {_range(at_least, at_most)}; got {value!r}"
        raise InputError(msg)


def check_positive(name: str, value: object) -> None:
    """Check that a setting is a finite number above 0.

    Raises:
        InputError: with the name and what was got.
    """
    if not _is_finite(value) or not value > 0:  # type: ignore[operator]
        msg = f"{name} must be a number above 0; got {value!r}"
        raise InputError(msg)


def check_flag(name: str, value: object) -> None:
    """Check that a setting is a bool.

    Raises:
        InputError: with the name and what was got.
    """
    if not isinstance(value, bool):
        msg = f"{name} must be true or false; got {value!r}"
        raise InputError(msg)


def check_name(what: str, name: str) -> None:
    """Check that a name is safe as part of a file name.

    Raises:
        InputError: it is empty, over 100 characters, or has characters other than letters, digits, ``_`` and ``-``.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name):
        msg = f"{what} may have letters, digits, _ and - only, at most 100; got {name!r}"
        raise InputError(msg)


def check_path_part(what: str, value: object) -> None:
    """Check that a name from a file (of a case or a dataset) does not lead out of the folder when it joins a path.

    Raises:
        InputError: it is no text, is empty or over 200 characters, or has characters that no file name has.
    """
    is_safe = isinstance(value, str) and re.fullmatch(r"[^/\\\0\n]{1,200}", value) and value not in (".", "..")
    if not is_safe:
        msg = f"{what} must be a name without slashes, of at most 200 characters; got {value!r}"
        raise InputError(msg)


def check_choice(what: str, value: object, valid: Sequence[str]) -> None:
    """Check that a value is among the valid ones.

    Raises:
        InputError: with what was got and what is valid.
    """
    if value not in valid:
        msg = f"{what} must be one of {', '.join(valid)}; got {value!r}"
        raise InputError(msg)


def check_entries(lead: str, found: Iterable[str], known: Sequence[str]) -> None:
    """Check that all entries of a JSON object are known.

    Raises:
        InputError: ``lead``, the unknown entries and the valid ones.
    """
    unknown = sorted(set(found) - set(known))
    if unknown:
        msg = f"{lead}: {', '.join(unknown)}; valid are {', '.join(known)}"
        raise InputError(msg)


def _range(at_least: float, at_most: float) -> str:
    return f"of at least {at_least}" if at_most == math.inf else f"from {at_least} to {at_most}"


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf
