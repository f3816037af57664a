"""Tell the edition from file names and case ids. Label values never decide: MSD and BraTS 2023 share theirs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TypeAlias

from dataset_conversion.custom_edition import CUSTOM, read_custom_edition
from dataset_conversion.editions import EDITIONS, Edition
from dataset_conversion.find_cases import case_folders_below, cases_below
from dataset_conversion.own_names import OWN, with_own_names
from dataset_conversion.precedence import folder_names
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.file_formats import found_instead

AUTO = "auto"
Alike: TypeAlias = Callable[[Sequence[Edition]], bool]


@dataclass(frozen=True)
class Decision:
    """What files are read as."""

    edition: Edition
    reason: str
    """For the user, after the edition's title."""


def same_conversion(editions: Sequence[Edition]) -> bool:
    """Tell whether a conversion by any of these editions is the same."""
    return all(edition.conventions == editions[0].conventions for edition in editions)


def same_meaning(editions: Sequence[Edition]) -> bool:
    """Tell whether the labels of these editions become the same labels and regions."""
    return all((one.tissues, one.regions) == (editions[0].tissues, editions[0].regions) for one in editions)


def same_images(editions: Sequence[Edition]) -> bool:
    """Tell whether the images of any of these editions are found by the same names."""
    return len({(edition.layout, edition.corrections) for edition in editions}) <= 1


def same_labels(editions: Sequence[Edition]) -> bool:
    """Tell whether no label value means one thing in one of these editions and another thing in another."""
    pairs = {(raw, repr(tissue)) for edition in editions for raw, tissue in edition.tissues.items()}
    return len({raw for raw, _ in pairs}) == len({meaning for _, meaning in pairs}) == len(pairs)


def detect_edition(
    key: str, inputs: Sequence[Path], edition_file: Path | None = None, *, alike: Alike = same_conversion
) -> Decision:
    """Decide what ``--edition KEY --edition-file FILE`` means for these folders.

    Args:
        key: of an edition; a year (``"2023"``) to tell the task from the case ids; ``"auto"``; or ``"custom"``.
        inputs: folders to search.
        edition_file: the description of a custom edition.
        alike: tells whether it does not matter which of several editions is taken.

    Raises:
        InputError: no such edition; no case; or none or several fit, and several are not alike.
    """
    named = _named(key, edition_file)
    if named:
        return _or_own_names(named, inputs)
    candidates = _candidates(key)
    folders = _case_folders(inputs, candidates, own=key == AUTO)
    if key == AUTO and not any(_fitting_all([case_id], candidates) for case_id in folders):
        return _told_by_file_names(sorted(folders), inputs, alike)
    return _told(folders, candidates, alike) or _told_by_folders(folders, candidates, alike)


def edition_by_case_ids(key: str, case_ids: Iterable[str], edition_file: Path | None = None) -> Decision:
    """Decide what ``--edition KEY --edition-file FILE`` means for label maps of these cases; see `detect_edition`.

    Raises:
        InputError: no such edition; or none or several fit, and their label values mean different things.
    """
    named = _named(key, edition_file)
    if named:
        return named
    candidates, ids = _candidates(key), sorted(case_ids)
    decision = _told(ids, candidates, same_labels)
    if decision is None:
        raise _ambiguous(ids[0], _earliest(_fitting_all(ids, candidates)), same_labels)
    return decision


def _named(key: str, edition_file: Path | None) -> Decision | None:
    """Return the edition that the user has named whole, if any."""
    if edition_file is not None:
        if key not in (AUTO, CUSTOM):
            msg = f"--edition {key} and --edition-file say two things; leave one of them out"
            raise InputError(msg)
        return Decision(read_custom_edition(edition_file), f"as {edition_file} describes it")
    if key == CUSTOM:
        msg = (
            "describe the custom edition in a file and name it with --edition-file "
            "(an example: docs/how_to/other_data.md)"
        )
        raise InputError(msg)
    return Decision(EDITIONS[key], "as you said") if key in EDITIONS else None


def _or_own_names(named: Decision, inputs: Sequence[Path]) -> Decision:
    """Return the edition that the user has named; with the file names of a user's own where these find more images."""
    edition = named.edition
    if edition.key == CUSTOM or edition.folders:
        return named
    own = with_own_names(edition)
    found, of_own = _images_named_as(edition, inputs), _images_named_as(own, inputs)
    if found >= of_own or any(edition.case_id.fullmatch(case_id) for case_id, _ in found):
        return named
    return Decision(own, f"{named.reason}; files by their own names, such as {min(of_own)[1].name}")


def edition_doubts(edition: Edition, case_ids: Sequence[str]) -> str | None:
    """Say why case ids do not look like those of an edition that was named; None where they do, or tell nothing."""
    if not case_ids or any(edition.case_id.fullmatch(case_id) for case_id in case_ids):
        return None
    if edition.key == CUSTOM:
        return f"no case id fits {edition.case_id.pattern!r} (such as {case_ids[0]}), so patients are not told apart"
    others = _fitting_all([case_ids[0]], EDITIONS.values())
    others = [other for other in others if not same_meaning([other, edition])]
    titles = " or ".join(group[0].title for group in _groups(others, same_meaning))
    return f"{case_ids[0]} looks like {titles}, which means other things by its labels" if others else None


def _candidates(key: str) -> list[Edition]:
    found = [
        edition
        for name, edition in EDITIONS.items()
        if key == AUTO or name.startswith(f"{key}-") or key in edition.years
    ]
    if not found:
        msg = f"no edition {key!r}; valid are {AUTO}, {', '.join(EDITIONS)}, {CUSTOM}"
        raise InputError(msg)
    return found


def _case_folders(inputs: Sequence[Path], editions: Iterable[Edition], *, own: bool) -> dict[str, set[Path]]:
    """Return the folders of each case id, as far as one is found by a layout of which a case id is known.

    Where no case id is known, those of all layouts are returned, for the message. With ``own`` an input may also hold
    nothing but files of a user's own.
    """
    by_layout: dict[object, list[Edition]] = {}
    for edition in editions:
        by_layout.setdefault(edition.layout, []).append(edition)
    layouts = [alike[0] for alike in by_layout.values()]
    by_input = [_cases_in(source, layouts, own=own) for source in inputs]
    found = [[*chain.from_iterable(of_layout)] for of_layout in zip(*by_input, strict=True)]
    known = [
        cases
        for alike, cases in zip(by_layout.values(), found, strict=True)
        if any(_fitting_all([case_id], alike) for case_id, _ in cases)
    ]
    folders: dict[str, set[Path]] = {}
    for case_id, folder in chain.from_iterable(known or found):
        folders.setdefault(case_id, set()).add(folder)
    return folders


def _cases_in(source: Path, layouts: Sequence[Edition], *, own: bool) -> list[list[tuple[str, Path]]]:
    """Return the case ids of an input with their folders, by the file names of each of these editions.

    Raises:
        InputError: there is none by any of them, and with ``own`` none by names of a user's own.
    """
    found = case_folders_below(source, layouts)
    if not any(found) and not (own and any(case_folders_below(source, [OWN]))):
        msg = (
            f"{source}: no BraTS case here; expected folders of files such as BraTS2021_00000_t1ce.nii.gz or "
            f"BraTS-GLI-00000-000-t1c.nii.gz{found_instead(source)}"
        )
        raise InputError(msg)
    return found


def _fitting_all(case_ids: Iterable[str], editions: Iterable[Edition]) -> list[Edition]:
    ids = list(case_ids)
    return [edition for edition in editions if all(map(edition.case_id.fullmatch, ids))]


def _earliest(editions: Sequence[Edition]) -> list[Edition]:
    """Leave out an edition that only repeats the cases of another one of these."""
    return [edition for edition in editions if not any(other.key in edition.contains for other in editions)]


def _told(case_ids: Iterable[str], candidates: Sequence[Edition], alike: Alike) -> Decision | None:
    """Return the edition of these case ids, or several that are alike as one; None where they fit several that differ.

    Raises:
        InputError: there are ids of no edition, or of several that differ.
    """
    ids = sorted(case_ids)
    fitting = _fitting_all(ids, candidates)
    choices = _earliest(fitting)
    if choices and not alike(choices):
        return None
    if choices:
        chosen = _widest(choices)
        like = f"ids, all {len(ids)} are like {ids[0]}" if len(ids) > 1 else f"id {ids[0]}"
        reason = f"told from the case {like}"
        return Decision(chosen, reason + _remark(chosen, fitting, alike))
    choices_of = {case_id: _earliest(_fitting_all([case_id], candidates)) for case_id in ids}
    together = list(dict.fromkeys(edition.key for found in choices_of.values() for edition in found))
    if not all(choices_of.values()) or not alike([EDITIONS[key] for key in together]):
        raise _mixed(ids, candidates)
    examples = {found[0].key: case_id for case_id, found in reversed(choices_of.items())}
    parts = sorted((EDITIONS[key] for key in examples), key=candidates.index)
    named = " and ".join(f"{examples[edition.key]} ({edition.title})" for edition in parts)
    return Decision(_joint(parts), f"told from case ids such as {named}, which are read the same")


def _widest(editions: Sequence[Edition]) -> Edition:
    """Return the first of those editions that have the most label values."""
    return max(editions, key=lambda edition: len(edition.tissues))


def _joint(editions: Sequence[Edition]) -> Edition:
    """Return several editions that are alike as one, by the key of one of them."""
    odd = {case_id: name for edition in editions for case_id, name in edition.odd_segmentations.items()}
    title = " and ".join(edition.title for edition in editions)
    return replace(_widest(editions), title=title, odd_segmentations=odd)


def _remark(chosen: Edition, fitting: Sequence[Edition], alike: Alike) -> str:
    """Say what else the cases could be read as."""
    others = [edition for edition in fitting if edition is not chosen]
    same = [edition.title for edition in others if alike([chosen, edition])]
    differing = [edition for edition in others if not alike([chosen, edition])]
    remarks = [f", {' and '.join(same)} would be read the same"] if same else []
    return "".join([*remarks, *(f"; to read them as {one.title}, name {one.key}" for one in differing)])


def _told_by_folders(folders: Mapping[str, set[Path]], candidates: Sequence[Edition], alike: Alike) -> Decision:
    """Return which of several editions it is that the case ids fit, by the name that the release has for its folders.

    Raises:
        InputError: the folders of a case have another name, or those of several editions that differ.
    """
    choices = _earliest(_fitting_all(folders, candidates))
    named_by = [
        {edition.key: name for folder in of_case for edition in choices for name in _release_names(folder, edition)}
        for of_case in folders.values()
    ]
    named = [edition for edition in choices if any(edition.key in names for names in named_by)]
    if not all(named_by) or not alike(named):
        raise _ambiguous(min(folders), choices, alike)
    chosen = _widest(named)
    example = next(names[chosen.key] for names in named_by if chosen.key in names)
    return Decision(chosen, f"told from the case ids and the folder {example}")


def _release_names(folder: Path, edition: Edition) -> list[str]:
    """Return the folders around a case that have the name of a release."""
    return [name for name in folder_names(folder) if edition.release_folder and edition.release_folder.fullmatch(name)]


def _told_by_file_names(ids: Sequence[str], inputs: Sequence[Path], alike: Alike) -> Decision:
    """Return what files of a user's own are read as, where the case ids are of no edition.

    Raises:
        InputError: there are no images, or label values matter, which file names do not tell.
    """
    images = _images_named_as(OWN, inputs)
    if not images:
        raise _mixed(ids, list(EDITIONS.values()))
    case_id, file = min(images)
    if alike is same_images:
        return Decision(OWN, f"by the names of the files, such as {file.name}")
    msg = (
        f"cannot tell the edition: {case_id} is of none we know, and names such as {file.name} say nothing of label "
        "values. Give an edition that has yours, --edition 2021 (NCR 1, ED 2, ET 4) or --edition 2023-gli (NCR 1, "
        "ED 2, ET 3), or describe them in a file for --edition-file (docs/how_to/other_data.md)"
    )
    raise InputError(msg)


def _images_named_as(edition: Edition, inputs: Iterable[Path]) -> set[tuple[str, Path]]:
    """Return case id and file of the images that have the names of an edition."""
    cases = chain.from_iterable(cases_below(folder, edition) for folder in inputs)
    return {(case.case_id, file) for case in cases for file in case.images.values()}


def _groups(editions: Sequence[Edition], alike: Alike) -> list[list[Edition]]:
    """Put editions that are alike together."""
    groups: list[list[Edition]] = []
    for edition in editions:
        group = next((group for group in groups if alike([*group, edition])), None)
        if group is None:
            groups.append([edition])
        else:
            group.append(edition)
    return groups


def _ambiguous(case_id: str, choices: Sequence[Edition], alike: Alike) -> InputError:
    groups = _groups(choices, alike)
    keys = " or ".join(group[0].key for group in groups)
    same = [f"{' and '.join(one.key for one in others)} as {first.key}" for first, *others in groups if others]
    more = f" ({', '.join(same)})" if same else ""
    return InputError(
        f"cases such as {case_id} fit editions with different label values; say which it is with --edition {keys}{more}"
    )


def _mixed(ids: Sequence[str], candidates: Sequence[Edition]) -> InputError:
    """Return what to raise where no edition has all case ids."""
    misfits = {edition.key: [case for case in ids if not edition.case_id.fullmatch(case)] for edition in candidates}
    nearest = min(misfits, key=lambda key: len(misfits[key]))
    n_fitting = len(ids) - len(misfits[nearest])
    odd = misfits[nearest][0]
    all_known = len(candidates) == len(EDITIONS)
    others = _earliest(_fitting_all(misfits[nearest], candidates)) if n_fitting else []
    if others:
        return InputError(
            f"cannot tell the edition: {n_fitting} of {len(ids)} cases are of {nearest}, and others, such as {odd}, of "
            f"{others[0].key}; give the folders of each edition to a run of its own, with another -d or -o"
        )
    if n_fitting:
        why = f"{odd} is not of {nearest}, as {n_fitting} of {len(ids)} cases are"
    else:
        why = f"{odd} is of none {'we know' if all_known else 'of these'}"
    keys = ", ".join([*(edition.key for edition in candidates), *([CUSTOM] if all_known else [])])
    return InputError(f"cannot tell the edition: {why}; name it whole with --edition, one of {keys}")
