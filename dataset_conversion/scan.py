"""Finding the cases of a BraTS download by their file names, whatever the folders around them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dataset_conversion.edition import RAW_ENDINGS, SEGMENTATION, Edition
from nnunet_resunet_ds.errors import InputError


@dataclass(frozen=True)
class RawCase:
    """The files of one case, as far as they are there."""

    case_id: str
    folder: Path
    """Where its images lie."""
    source: Path
    """The input folder it was found in, or the image folder of an edition that names it: a training or a test set."""
    images: dict[str, Path] = field(default_factory=dict)
    """Channel name → file, in channel order; one file may hold all."""
    segmentation: Path | None = None
    ignored: tuple[Path, ...] = ()
    """Unpacked copies (``.nii``) beside files that are used."""

    @property
    def files(self) -> list[Path]:
        """Every file of the case once, the images first."""
        return list(dict.fromkeys([*self.images.values(), *([self.segmentation] if self.segmentation else [])]))


def find_cases(inputs: Sequence[Path], edition: Edition) -> list[RawCase]:
    """Return every group of files that share a case id and a place, sorted by case id.

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
            where = "".join(f"{folder}/" for folder in list(edition.folders)[:1])
            msg = f"{source}: no {edition.title} case here; expected files such as {where}"
            raise InputError(msg + edition.file_name("CASE", "T1ce"))
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
    found: dict[tuple[Path, str], dict[str, list[Path]]] = {}
    for folder, names in _walk(source):
        image_folder, roles = _roles_in(folder, edition)
        for case_id, role, path in _recognised(folder, names, roles, edition):
            found.setdefault((image_folder, case_id), {}).setdefault(role, []).append(path)
    for (folder, case_id), files in found.items():
        yield RawCase(
            case_id,
            folder,
            source=folder if edition.folders else source,
            images={channel: files[channel][0] for channel in edition.image_suffixes if channel in files},
            segmentation=files[SEGMENTATION][0] if SEGMENTATION in files else None,
            ignored=tuple(dict.fromkeys(path for paths in files.values() for path in paths[1:])),
        )


def _walk(source: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder once with the names of its files, sorted, the compressed ones first."""
    seen: set[Path] = set()
    for parent, folders, files in os.walk(source, followlinks=True, onerror=_unreadable):
        real = Path(parent).resolve()
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real not in seen:
            seen.add(real)  # links may lead back
            yield Path(parent), sorted(files, key=lambda name: (not name.lower().endswith(RAW_ENDINGS[0]), name))


def _unreadable(error: OSError) -> None:
    msg = f"{error.filename}: cannot be read ({error.strerror}); mend its permissions"
    raise InputError(msg)


def _roles_in(folder: Path, edition: Edition) -> tuple[Path, tuple[str, ...]]:
    """Return the image folder that a folder belongs to, and which roles its files can have."""
    if not edition.folders:
        return folder, tuple(edition.suffixes)
    if folder.name in edition.folders:
        return folder, tuple(edition.image_suffixes)
    for images, label_maps in edition.folders.items():
        if folder.name == label_maps:
            return folder.with_name(images), (SEGMENTATION,)
    return folder, ()


def _recognised(
    folder: Path, names: Sequence[str], roles: Sequence[str], edition: Edition
) -> Iterator[tuple[str, str, Path]]:
    """Yield case id, role and path of each file that the edition's names fit, in upper or lower case."""
    for name in names:
        ending = next((ending for ending in RAW_ENDINGS if name.lower().endswith(ending)), None)
        if ending is None or name.startswith("."):
            continue
        stem = name[: -len(ending)]
        for role in roles:
            suffix = edition.suffixes[role]
            if stem.lower().endswith(suffix.lower()) and len(stem) > len(suffix):
                yield stem[: len(stem) - len(suffix)], role, folder / name
        for case_id, odd_name in edition.odd_segmentations.items():
            if name == odd_name:
                yield case_id, SEGMENTATION, folder / name
