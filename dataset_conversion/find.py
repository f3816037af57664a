"""Finding the cases of several folders, and joining what these hold of one case."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dataset_conversion.copies import same_content
from dataset_conversion.edition import SEGMENTATION, Edition
from dataset_conversion.scan import RawCase, cases_below
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.file_formats import found_instead


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
