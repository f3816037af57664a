"""Find the files of cases in BraTS downloads by their names, whatever the folders around them."""

import filecmp
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from dataset_conversion.editions import RAW_ENDINGS, SEGMENTATION, Edition
from dataset_conversion.precedence import folder_names, has_suffix, is_correction, precedence, stem_of
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
    superseded: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    """Role → files that differ from the one that is used, and that it takes the place of: see `precedence`."""
    optional: tuple[str, ...] = ()
    """Channels that may be absent: without a file, or with an image of zeros. Zeros then stand for them."""
    name_in_files: str | None = None
    """What the names of its images call it, where they were given one by one and it has another name."""
    notes: tuple[str, ...] = ()
    """``KIND: detail`` of what is odd about its files, known before any is opened."""

    @property
    def files(self) -> list[Path]:
        """Every file of the case once, the images first."""
        return list(dict.fromkeys([*self.images.values(), *([self.segmentation] if self.segmentation else [])]))

    @property
    def roles(self) -> dict[str, Path]:
        """File of each channel, and of the segmentation where there is one."""
        return {**self.images, **({SEGMENTATION: self.segmentation} if self.segmentation else {})}

    def all_of(self, role: str) -> list[Path]:
        """Return every file of a role that is no copy, the used one first; none where there is none."""
        if role not in self.roles:
            return []
        return [self.roles[role], *self.rivals.get(role, ()), *self.superseded.get(role, ())]


def cases_below(source: Path, edition: Edition) -> Iterator[RawCase]:
    """Yield what each folder of one input holds of a case, in walking order.

    Raises:
        InputError: it is not a folder, or a folder in it cannot be read.
    """
    for (folder, case_id), files in _files_in(files_below(source), edition).items():
        set_folder = folder if edition.folders else _set_of(case_id, folder, source)
        yield _assembled(RawCase(case_id, folder, set_folder), files, edition)


class _Choice(NamedTuple):
    """What becomes of the files of one role."""

    used: Path
    copies: list[Path]
    rivals: list[Path]
    superseded: list[Path]


def _assembled(case: RawCase, files: Mapping[str, Sequence[Path]], edition: Edition) -> RawCase:
    """Return the case with those of its files that are to be used.

    Args:
        case: without files, but for copies that are known already.
        files: of each role.
        edition: of the case.
    """
    choices = {role: _choice(paths, role, edition) for role, paths in files.items() if paths}
    copies = [path for choice in choices.values() for path in choice.copies]
    used = {role: choice.used for role, choice in choices.items()}
    return replace(
        case,
        images={channel: used[channel] for channel in edition.channels if channel in used},
        segmentation=used.get(SEGMENTATION),
        ignored=tuple(dict.fromkeys([*case.ignored, *copies])),
        rivals={role: tuple(choice.rivals) for role, choice in choices.items() if choice.rivals},
        superseded={role: tuple(choice.superseded) for role, choice in choices.items() if choice.superseded},
    )


def _choice(paths: Sequence[Path], role: str, edition: Edition) -> _Choice:
    ranks = {path: precedence(path, role, edition) for path in paths}
    used, *others = sorted(ranks, key=ranks.__getitem__)
    choice = _Choice(used, [], [], [])
    for path in others:
        if _is_copy(path, used, edition):
            choice.copies.append(path)
        else:
            (choice.rivals if ranks[path] == ranks[used] else choice.superseded).append(path)
    return choice


def case_folders_below(source: Path, editions: Sequence[Edition]) -> list[list[tuple[str, Path]]]:
    """Return, for each edition, the case ids of one input folder, each with a folder of the case; no file is opened.

    Raises:
        InputError: it is not a folder, or a folder in it cannot be read.
    """
    folders = list(files_below(source))
    return [[(case_id, folder) for folder, case_id in _files_in(folders, edition)] for edition in editions]


def _files_in(
    folders: Iterable[tuple[Path, list[str]]], edition: Edition
) -> dict[tuple[Path, str], dict[str, list[Path]]]:
    """Return the files of each role by their folder and case id, in walking order."""
    found: dict[tuple[Path, str], dict[str, list[Path]]] = {}
    for folder, names in folders:
        image_folder, roles = _roles_in(folder, edition)
        for case_id, role, path in _recognised(folder, names, roles, edition):
            found.setdefault((image_folder, case_id), {}).setdefault(role, []).append(path)
    return found


def _is_copy(path: Path, chosen: Path, edition: Edition) -> bool:
    """Tell whether a second file of a role holds what the chosen one holds, or has the odd name of that."""
    return stem_of(path.name) in edition.odd_segmentations.values() or same_content(path, chosen)


def _set_of(case_id: str, folder: Path, source: Path) -> Path:
    """Return the folder right below an input that a case lies in, unless that is its own; else the input."""
    below = folder.relative_to(source).parts
    return source / below[0] if len(below) > 1 and below[0] != case_id else source


def files_below(source: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder once with the names of its files, sorted, the compressed ones first.

    nnU-Net's own folders are passed over where they lie below the source.

    Raises:
        InputError: the source is not a folder, or a folder in it cannot be read.
    """
    if not source.is_dir():
        raise InputError(not_a_folder(source))
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
    bare = _bare_names(roles, edition) if edition.bare_names else {}
    for name in names:
        stem = stem_of(name)
        if stem is None or name.startswith("."):
            continue
        if stem.lower() in bare:
            yield folder_names(folder)[-1], bare[stem.lower()], folder / name
            continue
        fitting = [
            (role, len(suffix)) for role in roles for suffix in edition.suffixes_of(role) if has_suffix(stem, suffix)
        ]
        longest = max((length for _, length in fitting), default=0)  # _T1 also ends what _post_T1 ends
        for role, length in fitting:
            if length == longest:
                yield stem[: len(stem) - length], role, folder / name
        for case_id, odd_stem in edition.odd_segmentations.items():
            if stem == odd_stem:
                yield case_id, SEGMENTATION, folder / name


def _bare_names(roles: Iterable[str], edition: Edition) -> dict[str, str]:
    """Return name → role, of files that are called by a suffix without what parts it from a case id."""
    return {suffix.lower().strip("_-. "): role for role in roles for suffix in edition.suffixes_of(role)}


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
    joined = list(_one_an_id(sorted(cases.values(), key=lambda case: (case.case_id, case.folder)), edition))
    return [case for case in joined if not _corrects_nothing(case, edition)] or joined


def _corrects_nothing(case: RawCase, edition: Edition) -> bool:
    """Tell whether a case is nothing but a corrected label map: what it corrects is not in the inputs."""
    return not case.images and all(is_correction(path, edition) for path in case.files)


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
            yield _joined(list(group), edition)


def _joined(parts: Sequence[RawCase], edition: Edition) -> RawCase:
    """Make one case of what several folders hold of it; the folder that has the most of it stands for the case."""
    roles = list(edition.suffixes)

    def rank(part: RawCase) -> tuple[int, int]:
        return -len(part.roles), min((roles.index(role) for role in part.roles), default=len(roles))

    first, *others = ordered = sorted(parts, key=rank)
    if not others:
        return first
    ignored = tuple(path for part in ordered for path in part.ignored)
    files = {role: [path for part in ordered for path in part.all_of(role)] for role in roles}
    return _assembled(RawCase(first.case_id, first.folder, first.source, ignored=ignored), files, edition)


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
