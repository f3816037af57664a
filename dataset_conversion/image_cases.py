"""Find the images of cases to predict, by the names of any edition or of nnU-Net, and read them."""

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from dataset_conversion.cohort import cohort_problems
from dataset_conversion.detect_edition import AUTO, detect_edition, same_images
from dataset_conversion.editions import EDITIONS, NNUNET_KEY, NNUNET_SCHEME, RAW_ENDINGS, Edition
from dataset_conversion.file_sequences import named_otherwise
from dataset_conversion.find_cases import RawCase, cases_below, find_cases
from dataset_conversion.own_names import OWN
from dataset_conversion.read_case import compare_grids, open_case
from dataset_conversion.sequences import brats_channels, optional_channels, sequence_named
from dataset_conversion.staging import absent_channels
from nnunet_resunet_ds.base.counted import counted
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.file_formats import found_instead
from nnunet_resunet_ds.base.log import LOG

Images = NDArray[np.number]
"""(C, Z, Y, X), channels in the model's order, background 0."""

EXCHANGED = "images exchanged?"
"""Kind of warning."""
_NNUNET_IMAGE = re.compile(rf"(?P<case>.+)_(?P<channel>\d{{4}})({'|'.join(map(re.escape, RAW_ENDINGS))})")


@dataclass(frozen=True)
class CaseSet:
    """The cases that were found."""

    edition: Edition
    """How their files are named."""
    reason: str
    """How that was decided, for the user."""
    cases: list[RawCase]
    """Whose images have the names that the edition gives channels."""
    channels: tuple[str, ...]
    """Those names in the model's order."""
    problems: Mapping[str, list[str]]
    """Case id → why it cannot be predicted."""


@dataclass(frozen=True)
class LoadedCase:
    """The images of one case, in memory."""

    images: Images
    """(C, Z, Y, X) in the model's order."""
    grid: sitk.Image
    """Where they lie."""
    elsewhere: list[str]
    """A line for each file whose origin or direction differs from it."""
    notes: list[str]
    """``KIND: detail`` of what was corrected as the files were read, and of what is odd about them as a set."""
    identities: dict[str, Mapping[str, Any]]
    """Channel name → what `base.files.identity_of` returns of its file; not of absent channels."""
    absent: tuple[str, ...] = ()
    """Channels that the case lacks; their images are zero."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """In mm, in axis order (Z, Y, X)."""
        spacing: tuple[float, ...] = self.grid.GetSpacing()[::-1]
        return spacing


def nnunet_layout(channels: Sequence[str]) -> Edition:
    """Return nnU-Net's ``CASE_0000.nii.gz`` names and its label values, as one more edition.

    Args:
        channels: the model's, in order.
    """
    return Edition(
        key=NNUNET_KEY,
        title="nnU-Net",
        image_suffixes={name: f"_{number:04d}" for number, name in enumerate(channels)},
        segmentation_suffix="",
        tissues=NNUNET_SCHEME,
        case_id=re.compile(".+"),
    )


def find_prediction_cases(
    inputs: Sequence[Path],
    channels: Sequence[str],
    edition: str = AUTO,
    edition_file: Path | None = None,
    allow_missing: Collection[str] = (),
) -> CaseSet:
    """Find cases in raw BraTS folders of any edition, or in folders of nnU-Net images such as ``imagesTs``.

    In a dataset that ``convert`` made, a case may also lack what ``conversion.json`` lists as absent.

    Args:
        inputs: folders to search.
        channels: the model's, in order.
        edition: see `detect_edition`; ``auto`` also knows nnU-Net's names.
        edition_file: the description of a custom edition.
        allow_missing: sequences that a case may lack, such as ``("T2",)``; it must have at least one.

    Raises:
        InputError: no case, no edition, no such sequence, or a model whose channels are not those of BraTS.
    """
    if edition == NNUNET_KEY or (edition == AUTO and edition_file is None and _are_nnunet_images(inputs)):
        layout = nnunet_layout(channels)
        optional = optional_channels(allow_missing, channels)
        cases = _with_recorded_absence(_to_predict(find_cases(inputs, layout), channels, optional), channels)
        problems = cohort_problems(cases, layout, allow_missing=optional)
        for case in cases:
            problems.setdefault(case.case_id, []).extend(_extra_channels(case, len(channels)))
        problems = {case_id: lines for case_id, lines in problems.items() if lines}
        _warn_of_unread(inputs, cases, channels)
        return CaseSet(layout, "by the names CASE_0000.nii.gz …", cases, tuple(channels), problems)
    wanted = brats_channels(channels)
    decision = detect_edition(edition, inputs, edition_file, alike=same_images)
    optional = optional_channels(allow_missing, wanted)
    cases = _to_predict(find_cases(inputs, decision.edition), wanted, optional)
    problems = cohort_problems(cases, decision.edition, wanted, optional)
    _warn_of_unread(inputs, cases, wanted)
    return CaseSet(decision.edition, decision.reason, cases, wanted, problems)


def _warn_of_unread(inputs: Iterable[Path], cases: Sequence[RawCase], channels: Iterable[str]) -> None:
    """Name images of these channels that are of no case that was found, or that their case lacks: of other names."""
    used = {file for case in cases for role in case.images for file in (*case.all_of(role), *case.ignored)}
    there = {(case.case_id, sequence_named(channel)) for case in cases for channel in case.images}
    wanted = {sequence_named(channel) for channel in channels}
    unread = [
        file
        for source in inputs
        for case in cases_below(source, OWN)
        for channel, file in case.images.items()
        if channel in wanted and (case.case_id, channel) not in there and file not in used
    ]
    if unread:
        LOG.warning(
            "%s not read, such as %s: not named as those of the other cases; rename them, or predict them apart",
            counted(len(unread), "image"), unread[0],
        )  # fmt: skip


def single_case(
    case_id: str, files: Mapping[str, Path], channels: Sequence[str], allow_missing: Collection[str] = ()
) -> CaseSet:
    """Return the one case of these files; those that the model does not read are left out.

    Args:
        case_id: its name.
        files: BraTS channel name (T1, T1ce, T2, FLAIR) → file.
        channels: the model's, in order.
        allow_missing: sequences that the case may lack; it must have at least one.

    Raises:
        InputError: a file of the model's channels is missing, or is there for two of them; or no such sequence.
    """
    wanted = brats_channels(channels)
    optional = optional_channels(allow_missing, wanted)
    used = {name: files[name] for name in wanted if name in files}
    missing = [name for name in wanted if name not in used and not (used and name in optional)]
    if missing:
        msg = f"the model reads {', '.join(wanted)}, and {', '.join(missing)} is missing: give its image, too"
        raise InputError(msg)
    for first, second in combinations(used, 2):
        if used[first].resolve() == used[second].resolve():
            msg = f"{used[first]}: is given as {first} and as {second}; give each of them its own image"
            raise InputError(msg)
    folder = next(iter(used.values())).parent
    edition = EDITIONS["2021"]  # whose layout is a file a channel
    odd = named_otherwise(used, wanted)
    notes = (f"{EXCHANGED}: {_as_what(odd)}, by the names of the files",) if odd else ()
    name = common_name(used.values())
    case = RawCase(case_id, folder, folder, used, optional=optional, name_in_files=name, notes=notes)
    return CaseSet(edition, _as_what(used), [case], wanted, {})


def _as_what(files: Mapping[str, Path]) -> str:
    return ", ".join(f"{sequence} is {file.name}" for sequence, file in files.items())


def common_name(files: Iterable[Path]) -> str | None:
    """Return what the names of several images of one case begin with, up to the last sign between words."""
    names = [file.name for file in files]
    start = os.path.commonprefix(names)  # noqa: RUF071 (of names, not of paths)
    whole_words = start[: max(start.rfind(sign) for sign in "_- ") + 1].rstrip("_- ")
    return whole_words or None


def load_case(case: RawCase, edition: Edition, channels: Sequence[str]) -> LoadedCase:
    """Read the images of a case; a background of another value becomes 0.

    A channel that may be absent and is (`RawCase.optional`) gets an image of zeros.

    Raises:
        InputError: a file is missing or damaged, or they are not on one grid; a line for each.
    """
    opened = open_case(case, edition)
    lacking = [name for name in channels if name not in case.images and name not in case.optional]
    opened.problems += [f"{case.folder}: {case.case_id} has no {', '.join(lacking)}"] if lacking else []
    grids = compare_grids(opened.grids, voxels_only=True) if opened.grids else None
    problems = [*opened.problems, *(grids.differences if grids else [])]
    if problems or grids is None:
        raise InputError("\n".join(problems or [f"{case.folder}: {case.case_id} has no image"]))
    zeros = np.zeros_like(next(iter(opened.values.values())))
    images = np.stack([opened.values.get(channel, zeros) for channel in channels])
    elsewhere = compare_grids(opened.grids).differences
    present = [channel for channel in channels if channel not in opened.absent]
    identities = {channel: opened.sources[case.images[channel]].identity for channel in present}
    notes = [*case.notes, *opened.notes, *opened.warnings]
    return LoadedCase(images, grids.reference, elsewhere, notes, identities, opened.absent)


def load_files(files: Sequence[Path], channels: Sequence[str]) -> LoadedCase:
    """Read the images of one case from a file a channel, as `load_case` does.

    Raises:
        InputError: there are more or fewer files than channels, or as there.
    """
    if len(files) != len(channels):
        msg = f"give one file a channel, {', '.join(channels)}; got {len(files)} files"
        raise InputError(msg)
    images = dict(zip(channels, files, strict=True))
    named = {name: file for channel, file in images.items() if (name := sequence_named(channel))}
    odd = named_otherwise(named, [sequence_named(channel) or channel for channel in channels])
    notes = (f"{EXCHANGED}: {_as_what(odd)}, by the names of the files",) if odd else ()
    case = RawCase("case", files[0].parent, files[0].parent, images, notes=notes)
    return load_case(case, nnunet_layout(channels), channels)


def _to_predict(cases: Sequence[RawCase], channels: Sequence[str], optional: tuple[str, ...]) -> list[RawCase]:
    """Return the cases that have images, with those of the channels alone: what else there is need not be whole.

    Args:
        cases: as they were found.
        channels: that the model reads.
        optional: those of them that may be absent.
    """
    with_images = [replace(_reduced(case, channels), optional=optional) for case in cases if case.images]
    if not with_images:
        instead = found_instead(cases[0].folder, with_nifti=False)
        msg = f"{cases[0].folder}: no images here by the names that were expected; look at --edition and -i{instead}"
        raise InputError(msg)
    return with_images


def _with_recorded_absence(cases: Sequence[RawCase], channels: Sequence[str]) -> list[RawCase]:
    """Return cases of converted datasets that may also lack what they lacked then: images of zeros stand for it."""
    recorded = {dataset: absent_channels(dataset) for dataset in {case.folder.parent for case in cases}}
    absent = [recorded[case.folder.parent].get(case.case_id, ()) for case in cases]
    return [
        replace(case, optional=tuple(name for name in channels if name in {*case.optional, *names}))
        for case, names in zip(cases, absent, strict=True)
    ]


def _reduced(case: RawCase, channels: Sequence[str]) -> RawCase:
    images = {name: file for name, file in case.images.items() if name in channels}
    rivals = {role: files for role, files in case.rivals.items() if role in images}
    return replace(case, images=images, segmentation=None, rivals=rivals)


def _are_nnunet_images(folders: Sequence[Path]) -> bool:
    """Tell whether the folders hold images by nnU-Net's names: all of them, or none."""
    has = {
        folder: folder.is_dir() and any(_NNUNET_IMAGE.fullmatch(path.name) for path in folder.iterdir())
        for folder in folders
    }
    if len(set(has.values())) > 1:
        first, other = (next(folder for folder, found in has.items() if found is wanted) for wanted in (True, False))
        msg = f"{first}: has images by nnU-Net's names, and {other} has none; predict them one after the other"
        raise InputError(msg)
    return all(has.values())


def _extra_channels(case: RawCase, n_channels: int) -> list[str]:
    matches = [(path, _NNUNET_IMAGE.fullmatch(path.name)) for path in sorted(case.folder.glob("*_[0-9]*"))]
    return [
        f"{path}: the model has {n_channels} channels, 0000 to {n_channels - 1:04d}; remove this one if it is not meant"
        for path, match in matches
        if match and match["case"] == case.case_id and int(match["channel"]) >= n_channels
    ]
