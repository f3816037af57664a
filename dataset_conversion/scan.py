"""Finding the cases of a BraTS download by their file names, whatever the folders around them."""

import filecmp
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dataset_conversion.edition import RAW_ENDINGS, SEGMENTATION, Edition
from nnunet_resunet_ds.errors import InputError
from nnunet_resunet_ds.nnunet_folders import NNUNET_FOLDERS


@dataclass(frozen=True)
class RawCase:
    """The files of one case, as far as they are there."""

    case_id: str
    folder: Path
    """Where its images lie."""
    source: Path
    """What it shares with the other cases of its training or test set: the input folder, or the folder right below it
    (HGG, LGG, train, val) that the case lies in; the image folder of an edition that names it."""
    images: dict[str, Path] = field(default_factory=dict)
    """Channel name → file, in channel order; one file may hold all."""
    segmentation: Path | None = None
    ignored: tuple[Path, ...] = ()
    """Copies of files that are used."""
    rivals: tuple[Path, ...] = ()
    """Files that could be meant as well as one that is used."""

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
    return list(_without_copies(sorted(cases.values(), key=lambda case: (case.case_id, case.folder))))


def _without_copies(cases: Iterable[RawCase]) -> Iterator[RawCase]:
    """Yield the cases, a case that lies in two places with the very same files once: some downloads unpack so."""
    for _, group in itertools.groupby(cases, key=lambda case: case.case_id):
        first, *others = group
        copies = [other for other in others if _same_files(first, other)]
        copied = (file for other in copies for file in other.files)
        yield replace(first, ignored=(*first.ignored, *copied))
        yield from (other for other in others if other not in copies)


def _same_files(first: RawCase, second: RawCase) -> bool:
    if first.images.keys() != second.images.keys() or (first.segmentation is None) != (second.segmentation is None):
        return False
    pairs = list(zip(first.files, second.files, strict=True))
    try:
        return all(filecmp.cmp(one, other, shallow=False) for one, other in pairs)
    except OSError:
        return False  # the check of each file will say why


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
        used = {role: paths[0] for role, paths in files.items()}
        others = [(used[role], path) for role, paths in files.items() for path in paths[1:]]
        ignored = [path for chosen, path in others if _is_copy(path, chosen, edition)]
        yield RawCase(
            case_id,
            folder,
            source=folder if edition.folders else _set_of(case_id, folder, source),
            images={channel: used[channel] for channel in edition.image_suffixes if channel in used},
            segmentation=used.get(SEGMENTATION),
            ignored=tuple(dict.fromkeys(ignored)),
            rivals=tuple(dict.fromkeys(path for _, path in others if path not in ignored)),
        )


def _is_copy(path: Path, chosen: Path, edition: Edition) -> bool:
    """Tell whether a second file of a role is the unpacked copy of the chosen one, or has the odd name of that."""
    unpacked = path.name.lower() == chosen.name.lower().removesuffix(".gz")
    return unpacked or _stem(path.name) in edition.odd_segmentations.values()


def _set_of(case_id: str, folder: Path, source: Path) -> Path:
    """Return the folder right below an input that a case lies in, unless that is its own; else the input."""
    below = folder.relative_to(source).parts
    return source / below[0] if len(below) > 1 and below[0] != case_id else source


def _walk(source: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder once with the names of its files, sorted, the compressed ones first.

    nnU-Net's own folders are passed over where they lie below the source.
    """
    seen = {Path(os.environ[name]).resolve() for name in NNUNET_FOLDERS if os.environ.get(name)} - {source.resolve()}
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
        stem = _stem(name)
        if stem is None or name.startswith("."):
            continue
        suffixes = {role: edition.suffixes[role] for role in roles}
        fitting = {role: len(suffix) for role, suffix in suffixes.items() if _has_suffix(stem, suffix)}
        for role, length in fitting.items():
            if length == max(fitting.values()):  # _T1 also ends what _post_T1 ends
                yield stem[: len(stem) - length], role, folder / name
        for case_id, odd_stem in edition.odd_segmentations.items():
            if stem == odd_stem:
                yield case_id, SEGMENTATION, folder / name


def _stem(name: str) -> str | None:
    """Return a file name without its ending; None for what is no image file."""
    ending = next((ending for ending in RAW_ENDINGS if name.lower().endswith(ending)), None)
    return None if ending is None else name[: -len(ending)]


def _has_suffix(stem: str, suffix: str) -> bool:
    return stem.lower().endswith(suffix.lower()) and len(stem) > len(suffix)
