"""Find label maps, read what their values mean (told or declared, never guessed from them), and translate them."""

import filecmp
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataset_conversion.declared_labels import Declared, check_said, contradicts, declared_convention
from dataset_conversion.detect_edition import AUTO, edition_by_case_ids
from dataset_conversion.editions import EDITIONS, RAW_ENDINGS, SEGMENTATION, Edition
from dataset_conversion.find_cases import cases_below
from dataset_conversion.label_conventions import CONVENTIONS, LabelConvention, convention_named
from dataset_conversion.labels import listed
from dataset_conversion.own_names import OWN
from dataset_conversion.precedence import precedence
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import FILE_ENDING, case_of_file, visible_files
from nnunet_resunet_ds.base.images import whole_numbers
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON
from nnunet_resunet_ds.base.run_file import read_runs
from nnunet_resunet_ds.evaluation.protocols import Protocol

LabelValues = NDArray[np.integer]

PROTOCOL_LABELS = "protocol"
"""The key of a protocol's own label values."""
LABELS = (PROTOCOL_LABELS, *CONVENTIONS)
"""What label values can be said to be."""
_KEEP_ONE = "keep the right one and move the other out of the folder"
_RELEASES = [edition for edition in EDITIONS.values() if edition.segmentation_suffix]


@dataclass(frozen=True)
class LabelMaps:
    """Label maps whose values mean the same."""

    source: Path
    """Where they were looked for."""
    files: dict[str, Path]
    """Case → file."""
    convention: LabelConvention | None
    """What their values mean; None is the protocol's own."""
    reason: str
    """Why that is known, for the user."""
    is_declared: bool
    """Whether anything said so."""
    of_release: bool = False
    """Whether the files are named as segmentations: of a release, or of a user's own cases next to their images."""

    @property
    def labels(self) -> str:
        """The key of what their values mean, one of `LABELS` or that of a custom edition."""
        return self.convention.key if self.convention else PROTOCOL_LABELS

    def described(self, protocol: Protocol) -> str:
        """Say how the values are read."""
        n = f"{len(self.files)} label map{'s' if len(self.files) > 1 else ''}"
        title = self.convention.title if self.convention else protocol.title
        return f"{n} with the values of {title}, {self.reason}"


def find_label_maps(source: Path, labels: str | None = None) -> LabelMaps:
    """Find label maps: files named as in a release at any depth, else all ``CASE.nii.gz`` of a folder, or the one file.

    Args:
        source: file or folder.
        labels: what their values are, one of `LABELS`; None: what a file next to them or the release's
            file names declare, else the protocol's own.

    Raises:
        InputError: there are none; the file names are of releases with different label values; or there are both
            segmentations of a release and label maps of a program.
    """
    _check_given(source, labels)
    of_release = _release_file(source) if source.is_file() else _release_files(source)
    segmentations = of_release or ({} if source.is_file() else _own_segmentations(source))
    if source.is_dir() and segmentations:
        _check_are_alone(source, segmentations)
    files = segmentations or ({case_of_file(source): source} if source.is_file() else _plain_files(source))
    if not files:
        msg = (
            f"{source}: no label maps here; expected CASE.nii.gz, files such as BraTS2021_00000_seg.nii.gz, or "
            "CASE_seg.nii.gz in one folder with the images of CASE"
        )
        raise InputError(msg)
    are_named = bool(segmentations)
    if labels is not None:
        return LabelMaps(
            source, files, _said(source, labels, files), "as you said", is_declared=True, of_release=are_named
        )
    declared = _declared(files)
    if declared is None and of_release:
        declared = _by_case_ids(source, of_release)
    if declared is None:
        why = "as nothing next to them says what they are"
        return LabelMaps(source, files, None, why, is_declared=False, of_release=are_named)
    return LabelMaps(source, files, declared.convention, declared.reason, is_declared=True, of_release=are_named)


def _check_given(source: Path, labels: str | None) -> None:
    """Refuse label values that are not known, and paths that are none of label maps."""
    if labels is not None and labels not in LABELS:
        msg = f"label values {labels!r} are not known; choose from {', '.join(LABELS)}"
        raise InputError(msg)
    if not source.exists():
        msg = f"{source}: no such file or folder{_where_cases_lie(source)}"
        raise InputError(msg)
    if source.is_file() and not source.name.endswith(RAW_ENDINGS):
        msg = f"{source}: is no NIfTI file; give a file that ends in {' or '.join(RAW_ENDINGS)}"
        raise InputError(msg)


def _said(source: Path, labels: str, files: Mapping[str, Path]) -> LabelConvention | None:
    """Return the convention that a user names, if nothing that we wrote contradicts it; None is the protocol's own."""
    if labels == PROTOCOL_LABELS:
        return None
    named = convention_named(labels)
    check_said(named, files.values(), "leave out what you said (--ref-labels, --pred-labels, --input-labels)")
    _warn_of_contradiction(source, named, files)
    return named


def protocol_values(values: NDArray[Any], protocol: Protocol, name: str) -> LabelValues:
    """Return a label map as whole numbers, and check that the protocol has its labels.

    Args:
        values: any shape and real dtype.
        protocol: has all labels that may occur.
        name: of the label map, for messages.

    Raises:
        InputError: it has fractions (other than rounding errors), or labels that the protocol does not have.
    """
    values = np.asarray(values)
    if values.dtype == bool:
        values = values.view(np.uint8)
    whole = whole_numbers(values)
    if whole is None:
        msg = f"{name}: label values must be whole numbers; is this an image instead of a label map?"
        raise InputError(msg)
    values = whole
    known = {0, *(label for rule in protocol.regions.values() for label in rule.labels)}
    if sum(int(np.count_nonzero(values == label)) for label in known) != values.size:  # in half the time of unique
        unknown = sorted(set(np.unique(values).tolist()) - known)
        msg = (
            f"{name}: label values {listed(unknown)} are not among {protocol.title}'s {listed(sorted(known))}; "
            "choose another protocol, or say what the values are"
        )
        raise InputError(msg)
    return values


def to_protocol(values: LabelValues, convention: LabelConvention | None, protocol: Protocol, path: Path) -> LabelValues:
    """Translate label values (any shape) to the protocol's.

    Args:
        values: of the file.
        convention: what they mean; None is the protocol's own.
        protocol: to evaluate by.
        path: for messages.

    Raises:
        InputError: there are values that the convention or the protocol does not have.
    """
    if convention is None:
        return values
    scheme = convention.tissues
    values_of = {tissue: value for value, tissue in protocol.labels.items()}
    found = np.unique(values[values != 0]).tolist()
    unknown = [value for value in found if value not in scheme or scheme[value] not in values_of]
    if unknown:
        msg = (
            f"{path}: label values {listed(unknown)} as of {convention.title} have no counterpart in "
            f"{protocol.title}; choose the protocol of this data with --protocol, or say what the values are, such as "
            "--pred-labels 2023-gli for a model that was trained on the values of BraTS 2023"
        )
        raise InputError(msg)
    table = np.zeros(max(found, default=0) + 1, np.uint8)
    for value in found:
        table[value] = values_of[scheme[value]]
    translated: NDArray[np.uint8] = table[values]
    return translated


def _warn_of_contradiction(source: Path, said: LabelConvention, files: Mapping[str, Path]) -> None:
    """Say so where a file next to label maps says that they mean something else; the user may know better."""
    try:
        declared = _declared(files)
    except InputError:
        return  # which is why they were said
    if declared is not None and contradicts(said, declared.convention):
        LOG.warning(
            "%s: read with the values of %s, as you said; %s they have those of %s",
            source, said.title, declared.reason, declared.convention.title,
        )  # fmt: skip


def _check_are_alone(folder: Path, segmentations: Mapping[str, Path]) -> None:
    """Refuse a folder of predictions that has segmentations in it or below: they would be taken instead.

    Raises:
        InputError: naming one of each.
    """
    runs = read_runs(folder)
    named = {path.name for path in segmentations.values() if path.parent == folder}
    listed = [] if runs is None else [file for case in runs.cases if (file := runs.file_of(case)) and file not in named]
    written = [file for file in listed if (folder / file).is_file()]
    if not written and (folder / DATASET_JSON).is_file():
        written = [path.name for path in visible_files(folder, FILE_ENDING) if path.name not in named]
    if written:
        other = next(iter(segmentations.values()))
        msg = (
            f"{folder}: has predictions, such as {written[0]}, and segmentations named as those of a release, such as "
            f"{other.relative_to(folder)}; move these to a folder of their own, or give the one file that is meant"
        )
        raise InputError(msg)


def _where_cases_lie(source: Path) -> str:
    """Return the remedy for the name of a case in place of a path; "" for any other path."""
    if source.is_absolute() or len(source.parts) > 1 or not _is_release_case(source.name):
        return ""
    return f"; it is the name of a case: give the path of its folder, such as /data/…/{source.name}"


def _release_file(path: Path) -> dict[str, Path]:
    """Return the file by its case id, if it has a release's file name."""
    stem = case_of_file(path)
    ids = {stem.removesuffix(suffix) for edition in _RELEASES for suffix in edition.suffixes_of(SEGMENTATION)}
    return {case: path for case in ids - {stem} if _is_release_case(case)}


def _release_files(folder: Path) -> dict[str, Path]:
    """Return the segmentations below a folder that have a release's file name, by case id; corrected ones win.

    Raises:
        InputError: two different files are of the same case.
    """
    files: dict[str, Path] = {}
    for editions in _found_alike():
        for case, paths in _segmentations_below(folder, editions).items():
            files[case], *others = _of_the_first_rank(paths, editions[0])
            for path in others:
                if not filecmp.cmp(files[case], path, shallow=False):
                    msg = f"{path}: differs from {files[case]}, which is of the same case; {_KEEP_ONE}"
                    raise InputError(msg)
    return dict(sorted(files.items()))


def _found_alike() -> Iterable[list[Edition]]:
    """Return the editions whose files are found by the same names, and corrected by the same folders, together."""
    groups: dict[object, list[Edition]] = {}
    for edition in _RELEASES:
        groups.setdefault((edition.layout, edition.corrections), []).append(edition)
    return groups.values()


def _segmentations_below(folder: Path, editions: Sequence[Edition]) -> dict[str, list[Path]]:
    """Return case id → all its segmentations, of cases of these editions; their files are named alike."""
    found: dict[str, list[Path]] = {}
    for case in cases_below(folder, editions[0]):
        if case.segmentation and any(edition.case_id.fullmatch(case.case_id) for edition in editions):
            found.setdefault(case.case_id, []).extend(case.all_of(SEGMENTATION))
    return found


def _of_the_first_rank(paths: Iterable[Path], edition: Edition) -> list[Path]:
    """Return those of a case's segmentations that take the place of the others, such as corrected ones."""
    ranks = {path: precedence(path, SEGMENTATION, edition) for path in paths}
    return [path for path, rank in ranks.items() if rank == min(ranks.values())]


def undeclared_warnings(maps: LabelMaps, protocol: Protocol) -> Iterator[str]:
    """Yield a line where nothing says what the values of label maps mean."""
    if not maps.is_declared:
        yield (
            f"{maps.source}: no file says what its label values mean; they are read as those of {protocol.title}. "
            "Where they are not, tissues and volumes are wrong: say what they are with --pred-labels, such as nnunet"
        )


def are_other_cases(one: str, other: str) -> bool:
    """Tell whether two names are those of different cases of releases; of a name of any other form nobody knows."""
    return one != other and _is_release_case(one) and _is_release_case(other)


def _is_release_case(case: str) -> bool:
    return any(edition.case_id.fullmatch(case) for edition in _RELEASES)


def _own_segmentations(folder: Path) -> dict[str, Path]:
    """Return case → segmentation, of a user's own case ids: ``P001_seg.nii.gz`` next to ``P001_t1.nii.gz``, if any.

    Raises:
        InputError: a case has two that differ.
    """
    cases = [case for case in cases_below(folder, OWN) if case.images]
    for case in cases:
        for other in case.rivals.get(SEGMENTATION, ()):
            msg = f"{other}: differs from {case.segmentation}, which is of the same case; {_KEEP_ONE}"
            raise InputError(msg)
    return dict(sorted((case.case_id, case.segmentation) for case in cases if case.segmentation))


def _plain_files(folder: Path) -> dict[str, Path]:
    """Return the label maps right in a folder, by case."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.endswith(RAW_ENDINGS):
            continue
        case = case_of_file(path)
        if case in files:
            msg = f"{path}: {files[case].name} is of the same case; {_KEEP_ONE}"
            raise InputError(msg)
        files[case] = path
    return files


def _declared(files: Mapping[str, Path]) -> Declared | None:
    """Return what a file next to the label maps declares; None for raw cases, each in a folder of its own."""
    folders = {path.parent for path in files.values()}
    return declared_convention(files.values()) if len(folders) == 1 else None


def _by_case_ids(source: Path, files: Iterable[str]) -> Declared:
    try:
        decision = edition_by_case_ids(AUTO, files)
    except InputError as error:
        options = "--ref-labels or --pred-labels"
        msg = f"{source}: {str(error).replace('--edition', options)}"
        raise InputError(msg) from error
    return Declared(CONVENTIONS[decision.edition.key], decision.reason)
