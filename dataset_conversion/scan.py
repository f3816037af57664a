"""Finding the cases of a BraTS download by their file names, whatever the folders around them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dataset_conversion.editions import FILE_ENDING, RAW_ENDINGS, Edition
from nnunet_resunet_ds.errors import InputError

SEGMENTATION = "segmentation"


@dataclass(frozen=True)
class RawCase:
    """The files of one case, as far as they are there."""

    case_id: str
    folder: Path
    source: Path
    """Which of the input folders it was found in."""
    images: dict[str, Path] = field(default_factory=dict)
    """Channel name → file, in channel order."""
    segmentation: Path | None = None


def find_cases(inputs: Sequence[Path], edition: Edition) -> list[RawCase]:
    """Return every group of files in one folder that share a case id, sorted by it.

    Args:
        inputs: folders to search, at any depth; hidden files and folders are skipped.
        edition: whose file names to look for.

    Raises:
        InputError: an input is not a folder, or holds no case.
    """
    cases: dict[tuple[Path, str], RawCase] = {}
    for source in sorted(inputs, key=lambda path: len(path.resolve().parts), reverse=True):  # the innermost counts
        found = list(cases_below(source, edition))
        if not found:
            msg = (
                f"{source}: no {edition.title} case here; expected files such as "
                f"CASE{edition.image_suffixes['T1ce']}{FILE_ENDING}"
            )
            raise InputError(msg)
        for case in found:
            cases.setdefault((case.folder.resolve(), case.case_id), case)  # inputs may overlap
    return sorted(cases.values(), key=lambda case: (case.case_id, case.folder))


def cases_below(source: Path, edition: Edition) -> Iterator[RawCase]:
    """Yield the cases of one input folder, in walking order.

    Raises:
        InputError: it is not a folder, or a folder in it cannot be read.
    """
    if not source.is_dir():
        msg = f"{source}: no such folder"
        raise InputError(msg)
    seen: set[Path] = set()
    for parent, folders, files in os.walk(source, followlinks=True, onerror=_unreadable):
        real = Path(parent).resolve()
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real not in seen:
            seen.add(real)  # links may lead back
            yield from _cases_in(Path(parent), source, sorted(files), edition)


def _unreadable(error: OSError) -> None:
    msg = f"{error.filename}: cannot be read ({error.strerror}); mend its permissions"
    raise InputError(msg)


def _cases_in(folder: Path, source: Path, files: Sequence[str], edition: Edition) -> Iterator[RawCase]:
    """Group the files of one folder by case id."""
    groups: dict[str, dict[str, Path]] = {}
    for name in sorted(files, key=lambda name: name.lower().endswith(FILE_ENDING)):  # of two, the compressed one stays
        for case_id, role in _roles(name, edition):
            groups.setdefault(case_id, {})[role] = folder / name
    for case_id, group in groups.items():
        odd = edition.odd_segmentations.get(case_id)
        if odd and odd in files:
            group.setdefault(SEGMENTATION, folder / odd)
        images = {channel: group[channel] for channel in edition.image_suffixes if channel in group}
        yield RawCase(case_id, folder, source, images, group.get(SEGMENTATION))


def _roles(name: str, edition: Edition) -> Iterator[tuple[str, str]]:
    """Yield the case id and role that a file name has in an edition, with its suffix in upper or lower case."""
    ending = next((ending for ending in RAW_ENDINGS if name.lower().endswith(ending)), None)
    if ending is None or name.startswith("."):
        return
    stem = name[: -len(ending)]
    for role, suffix in (*edition.image_suffixes.items(), (SEGMENTATION, edition.segmentation_suffix)):
        if stem.lower().endswith(suffix) and len(stem) > len(suffix):
            yield stem[: -len(suffix)], role
