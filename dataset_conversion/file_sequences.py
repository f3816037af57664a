"""Tell from the name of an image file which MR sequence it is, by the usual names of sequences and by nnU-Net's."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dataset_conversion.own_names import OWN
from dataset_conversion.precedence import longest_suffix, stem_of
from dataset_conversion.sequences import sequence_named

_NUMBERED = re.compile(r".+_(\d{4})")
_AGENT = "_ce-"
"""Before the name of a contrast agent in names of BIDS."""
_SUFFIXES = {suffix: channel for channel in OWN.channels for suffix in OWN.suffixes_of(channel)}


def named_otherwise(files: Mapping[str, Path], channels: Sequence[str]) -> dict[str, Path]:
    """Return those files whose names say another sequence than the one that they are given as.

    Args:
        files: of one case: sequence (T1, T1ce, T2, FLAIR) → file.
        channels: the same names in the order of the model, in which nnU-Net numbers files.
    """
    numbers = {file: _number(file) for file in files.values()}
    are_numbered = None not in numbers.values() and len(set(numbers.values())) == len(files)
    odd = {}
    for sequence, file in files.items():
        named = sequence_of_file(file.name)
        number = numbers[file]
        if named is None and are_numbered and number is not None and number < len(channels):
            named = channels[number]
        if named not in (None, sequence):
            odd[sequence] = file
    return odd


def cases_named(files: Iterable[Path]) -> list[str]:
    """Return the cases that the names of images tell, such as CASE of ``CASE-t1c.nii.gz``; other names tell none."""
    stems = [stem for file in files if (stem := stem_of(file.name)) is not None]
    return sorted({stem[: -len(suffix)] for stem in stems if (suffix := _suffix(stem)) is not None})


def sequence_of_file(name: str) -> str | None:
    """Return the sequence that the name of a file ends in, such as T1ce of ``CASE-t1c.nii.gz``; None where unknown."""
    stem = stem_of(name)
    if stem is None:
        return None
    suffix = _suffix(stem)
    return sequence_named(stem) if suffix is None else _SUFFIXES[suffix]


def _suffix(stem: str) -> str | None:
    """Return the suffix of a sequence that a name ends in; None where it names a contrast agent that no suffix has."""
    suffix = longest_suffix(stem, _SUFFIXES)
    return None if suffix is not None and _AGENT in stem[: -len(suffix)].lower() else suffix


def _number(file: Path) -> int | None:
    """Return the number that nnU-Net's ``CASE_0001.nii.gz`` has; where all files share it, it is that of a case."""
    match = _NUMBERED.fullmatch(stem_of(file.name) or "")
    return int(match[1]) if match else None
