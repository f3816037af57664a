"""Find the files of cases in BraTS downloads by their names, whatever the folders around them."""

import filecmp
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dataset_conversion.editions import RAW_ENDINGS, SEGMENTATION, Edition
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.file_formats import found_instead, not_a_folder
from nnunet_resunet_ds.base.nifti_check import holds_unpacked, is_gzip_file
from nnunet_resunet_ds.base.nnunet_folders import NNUNET_FOLDERS


def same_content(first: Path, second: Path) -> bool:
    """Tell whether two files hold the same bytes, once unpacked; not where one cannot be read: its check says why."""
    try:
        if not (first.is_file() and second.is_file()):  # a pipe would never end
            return False
        if filecmp.cmp(first, second, shallow=False):
            return True
        packed = [path for path in (first, second) if is_gzip_file(path)]
        if len(packed) != 1:
            return False
        (plain,) = {first, second} - {*packed}
        return holds_unpacked(packed[0], plain)
    except OSError:
        return False


@dataclass(frozen=True)
class RawCase:
    """The files of one case, as far as they are there."""

    case_id: str
    folder: Path
    """Where its images lie, or the most of them."""
    source: Path
    """What it shares with the other cases of its training or test set: the input folder, or the folder right below it
    (HGG, LGG, train, val) that the case lies in; the image folder of an edition that names it."""
    images: dict[str, Path] = field(default_factory=dict)
    """Channel name → file, in channel order; one file may hold all."""
    segmentation: Path | None = None
    ignored: tuple[Path, ...] = ()
    """Copies of files that are used."""
    rivals: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    """Role → files that could be meant as well as the one that is used, and differ from it."""
    optional: tuple[str, ...] = ()
    """Channels that may be absent: without a file, or with an image of zeros. Zeros then stand for them."""

    @property
    def files(self) -> list[Path]:
        """Every file of the case once, the images first."""
        return list(dict.fromkeys([*self.images.values(), *([self.segmentation] if self.segmentation else [])]))

    @property
    def roles(self) -> dict[str, Path]:
        """File of each channel, and of the segmentation where there is one."""
        return {**self.images, **({SEGMENTATION: self.segmentation} if self.segmentation else {})}


def cases_below(source: Path, edition: Edition) -> Iterator[RawCase]:
    """Yield what each folder of one input holds of a case, in walking order.

    Raises:
        InputError: it is not a folder, or a folder in it cannot be read.
    """
    for (folder, case_id), files in _files_below(source, edition).items():
        used = {role: paths[0] for role, paths in files.items()}
        others = [(role, path) for role, paths in files.items() for path in paths[1:]]
        ignored = [path for role, path in others if _is_copy(path, used[role], edition)]
        rivals = {role: tuple(path for path in paths[1:] if path not in ignored) for role, paths in files.items()}
        yield RawCase(
            case_id,
            folder,
            source=folder if edition.folders else _set_of(case_id, folder, source),
            images={channel: used[channel] for channel in edition.image_suffixes if channel in used},
            segmentation=used.get(SEGMENTATION),
            ignored=tuple(dict.fromkeys(ignored)),
            rivals={role: paths for role, paths in rivals.items() if paths},
        )


def case_ids_below(source: Path, edition: Edition) -> set[str]:
    """Return the case ids of one input folder, without a look into any file.

    Raises:
        InputError: it is not a folder, or a folder in it cannot be read.
    """
    return {case_id for _, case_id in _files_below(source, edition)}


def _files_below(source: Path, edition: Edition) -> dict[tuple[Path, str], dict[str, list[Path]]]:
    """Return the files of each role by their folder and case id, in walking order."""
    if not source.is_dir():
        raise InputError(not_a_folder(source))
    found: dict[tuple[Path, str], dict[str, list[Path]]] = {}
    for folder, names in _walk(source):
        image_folder, roles = _roles_in(folder, edition)
        for case_id, role, path in _recognised(folder, names, roles, edition):
            found.setdefault((image_folder, case_id), {}).setdefault(role, []).append(path)
    return found


def _is_copy(path: Path, chosen: Path, edition: Edition) -> bool:
    """Tell whether a second file of a role holds what the chosen one holds, or has the odd name of that."""
    return _stem(path.name) in edition.odd_segmentations.values() or same_content(path, chosen)


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
    msg = f"{error.filename}: cannot be read ({error.strerror}); change its permissions"
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


def find_cases(inputs: Sequence[Path], edition: Edition) -> list[RawCase]:
    """Return the cases, sorted by case id; what several folders hold of one is joined.

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
            example = where + edition.file_name("CASE", next(iter(edition.image_suffixes)))
            msg = f"{source}: no {edition.title} case here; expected files such as {example}{found_instead(source)}"
            raise InputError(msg)
        for case in found:
            cases.setdefault((case.folder.resolve(), case.case_id), case)  # inputs may overlap
    return list(_one_an_id(sorted(cases.values(), key=lambda case: (case.case_id, case.folder)), edition))


def _one_an_id(cases: Iterable[RawCase], edition: Edition) -> Iterator[RawCase]:
    """Yield one case for each id: what its folders hold together, a file that is there twice once.

    Where an edition names its folders, only a case of which every file is there twice is joined.

    Args:
        cases: of all folders, those of an id one after the other.
        edition: of them.
    """
    for _, group in itertools.groupby(cases, key=lambda case: case.case_id):
        if edition.folders:
            yield from _without_copies(group)
        else:
            yield _joined(list(group), list(edition.suffixes))


def _joined(parts: Sequence[RawCase], roles: Sequence[str]) -> RawCase:
    """Make one case of what several folders hold of it; the folder that has the most of it stands for the case."""

    def rank(part: RawCase) -> tuple[int, int]:
        return -len(part.roles), min((roles.index(role) for role in part.roles), default=len(roles))

    ordered = sorted(parts, key=rank)
    files = {role: [part.roles[role] for part in ordered if role in part.roles] for role in roles}
    used = {role: paths[0] for role, paths in files.items() if paths}
    ignored = [path for part in ordered for path in part.ignored]
    rivals = {role: [path for part in ordered for path in part.rivals.get(role, ())] for role in used}
    for role, chosen in used.items():
        for path in files[role][1:]:
            (ignored if same_content(path, chosen) else rivals[role]).append(path)
    return replace(
        ordered[0],
        images={role: path for role, path in used.items() if role != SEGMENTATION},
        segmentation=used.get(SEGMENTATION),
        ignored=tuple(dict.fromkeys(ignored)),
        rivals={role: tuple(paths) for role, paths in rivals.items() if paths},
    )


def _without_copies(parts: Iterable[RawCase]) -> Iterator[RawCase]:
    first, *others = parts
    copies = [other for other in others if _same_files(first, other)]
    copied = (file for other in copies for file in other.files)
    yield replace(first, ignored=(*first.ignored, *copied))
    yield from (other for other in others if other not in copies)


def _same_files(first: RawCase, second: RawCase) -> bool:
    if first.roles.keys() != second.roles.keys():
        return False
    return all(same_content(one, other) for one, other in zip(first.files, second.files, strict=True))
