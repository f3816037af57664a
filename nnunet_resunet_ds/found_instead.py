"""Saying what a folder holds where no case was found in it, and what to do with that."""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from nnunet_resunet_ds.file_formats import SIGN_BYTES, FileFormat, format_of_bytes, format_of_name

_MAX_FILES = 20_000
"""That are looked at: the message is wanted soon."""
_MAX_OPENED = 100
"""Of those whose name tells nothing: DICOM files often have no ending."""
_NIFTI = (".nii", ".nii.gz")
_RENAME = "rename them so, or describe the names in a file for --edition-file (docs/editions.md)"


def not_a_folder(path: Path) -> str:
    """Say what is wrong with an input that should be a folder of cases and is none."""
    if not path.exists():
        return f"{path}: no such folder"
    found = format_of_name(path.name) or _by_content(path)
    if found is None:
        return f"{path}: is a file; give the folder that it lies in"
    return f"{path}: is {found.name}, not a folder of NIfTI images; {found.advice}"


def found_instead(folder: Path, *, with_nifti: bool = True) -> str:
    """Return ``; found N DICOM files, such as F: convert …`` of what most files of a folder are; empty where unknown.

    Args:
        folder: to look through, at any depth.
        with_nifti: speak of NIfTI images, too, whose names were not as expected.
    """
    by_format: dict[FileFormat, list[Path]] = defaultdict(list)
    nifti: list[Path] = []
    n_opened = 0
    for path in _files(folder):
        if path.name.lower().endswith(_NIFTI):
            nifti.append(path)
            continue
        found = format_of_name(path.name)
        if found is None and n_opened < _MAX_OPENED:
            n_opened += 1
            found = _by_content(path)
        if found:
            by_format[found].append(path)
    parts = []
    if by_format:
        most, paths = max(by_format.items(), key=lambda item: len(item[1]))
        parts.append(f"; found {_count(paths, most.name, most.plural)}: {most.advice}")
    if nifti and with_nifti:
        parts.append(f"; found {_count(nifti, 'a NIfTI image', 'NIfTI images')} with other names: {_RENAME}")
    return "".join(parts)


def _count(paths: list[Path], one: str, many: str) -> str:
    return f"{one} ({paths[0]})" if len(paths) == 1 else f"{len(paths)} {many} (such as {paths[0]})"


def _files(folder: Path) -> Iterator[Path]:
    """Yield the first files below a folder, hidden ones left out."""
    n_seen = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            n_seen += 1
            if n_seen > _MAX_FILES:
                return
            yield Path(parent, name)


def _by_content(path: Path) -> FileFormat | None:
    try:
        if not path.is_file():  # a pipe would never end
            return None
        with path.open("rb") as stream:
            return format_of_bytes(stream.read(SIGN_BYTES))
    except OSError:
        return None
