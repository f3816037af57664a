"""Read one case for the report: its images, label maps, volumes and remarks."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from dataset_conversion.editions import CHANNEL_NAMES
from dataset_conversion.find_cases import RawCase
from dataset_conversion.image_cases import CaseSet, find_prediction_cases, load_case
from dataset_conversion.sequences import optional_channels, sequence_named
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.images import read_image
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON
from nnunet_resunet_ds.evaluation.case_metrics import Metrics
from nnunet_resunet_ds.evaluation.cohort_metrics import PREDICTION, REFERENCE
from nnunet_resunet_ds.evaluation.label_maps import LabelMaps, LabelValues
from nnunet_resunet_ds.evaluation.pairs import check_same_grid, in_nnunet_values, read_protocol_labels
from nnunet_resunet_ds.evaluation.protocols import Protocol
from nnunet_resunet_ds.evaluation.training_cases import TRAINING_CASE, is_training_case
from nnunet_resunet_ds.evaluation.unmatched_lesions import UnmatchedLesion
from nnunet_resunet_ds.report.pictures import Pictures, Spacing, make_pictures
from nnunet_resunet_ds.report.remarks import (
    Certainty,
    PredictionNotes,
    doubts,
    flags,
    only,
)
from nnunet_resunet_ds.uncertainty.maps import ENTROPY
from postprocessing.saved_probabilities import SavedProbabilities, saved_probabilities

BEFORE = "before"
"""The name of label maps before post-processing, next to `PREDICTION` and `REFERENCE`."""
_DISPLAYED = "LPS"
"""Orientation of what is shown: right of the patient on the left, as radiologists look at it."""

_LEAST_IN_ML = 5.0
"""Mm³ from which a volume is more than 0.00 ml."""


@dataclass(frozen=True)
class ShownLesion:
    """A false or missed lesion, and where the viewer finds it."""

    text: str
    place: tuple[int, int, int] | None
    """Index of a voxel of it in the pictures, (Z, Y, X); None without pictures."""


@dataclass(frozen=True)
class ReportCase:
    """Everything that the report shows of one case: its row in the table, and its viewer."""

    name: str
    volumes: Mapping[str, float]
    """Predicted mm³ by region."""
    metrics: Metrics = field(default_factory=dict)
    """Region → metric → value; empty without a reference."""
    flags: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """What ``predict`` said about the images."""
    changes: list[str] = field(default_factory=list)
    """What each step of post-processing did."""
    problem: str = ""
    """Why there are no pictures, where there should be."""
    pictures: Pictures | None = None
    lesions: list[ShownLesion] = field(default_factory=list)
    """False and missed lesions, the largest first."""
    certainty: Certainty = field(default_factory=dict)
    """How sure ``predict`` was of each region."""


@dataclass(frozen=True)
class CaseFiles:
    """Where the files of the cases are, and how to read them."""

    protocol: Protocol
    images: CaseSet
    label_maps: Mapping[str, LabelMaps]
    """`PREDICTION`, and `REFERENCE` and `BEFORE` where they are given."""
    notes: PredictionNotes
    quality: int
    """Of pictures, 1 to 100."""

    def raw_case(self, name: str) -> RawCase:
        """Return where the images of a case are.

        Raises:
            InputError: there are none, or something is wrong with them.
        """
        problems = self.images.problems.get(name)
        if problems:
            raise InputError("\n".join(problems))
        if name in self._raw_cases:
            return self._raw_cases[name]
        msg = f"{self.label_maps[PREDICTION].files[name]}: has no images of the case {name}; give their folder with -i"
        raise InputError(msg)

    def has_images(self, name: str) -> bool:
        """Tell whether any image of a case was found; `raw_case` says what may be wrong with them."""
        return name in self._raw_cases or bool(self.images.problems.get(name))

    def of_case(self, name: str) -> "CaseFiles":
        """Return the files of one case alone: little to send to another process."""
        cases = [self._raw_cases[name]] if name in self._raw_cases else []
        images = replace(self.images, cases=cases, problems=only(name, self.images.problems))
        label_maps = {which: replace(maps, files=only(name, maps.files)) for which, maps in self.label_maps.items()}
        return replace(self, images=images, label_maps=label_maps, notes=self.notes.of_case(name))

    @cached_property
    def _raw_cases(self) -> dict[str, RawCase]:
        return {case.case_id: case for case in reversed(self.images.cases)}  # of several, the first


@dataclass(frozen=True)
class CaseToRead:
    """What `read_case` needs to know about a case."""

    name: str
    files: CaseFiles
    metrics: Metrics
    with_pictures: bool
    lesions: Sequence[UnmatchedLesion] = ()


def read_case(case: CaseToRead) -> ReportCase:
    """Read all that the report shows of a case; where its images cannot be shown, `ReportCase.problem` says why.

    Raises:
        InputError: the prediction cannot be read, or has labels that the protocol lacks.
    """
    name, files = case.name, case.files
    warnings = files.notes.warnings(name)
    grid, prediction = _labels(name, PREDICTION, files)
    pictures, problem = None, ""
    if case.with_pictures:
        try:
            pictures = _pictures(name, files, grid, prediction)
        except InputError as error:
            problem = str(error)
    return ReportCase(
        name,
        volumes=_volumes(prediction, grid, files.protocol),
        metrics=case.metrics,
        flags=[
            *([TRAINING_CASE] if is_training_case(warnings) else ()),
            *_flags(name, files, grid, prediction, has_reference=bool(case.metrics)),
        ],
        warnings=warnings,
        changes=list(files.notes.changes.get(name, [])),
        problem=problem,
        pictures=pictures,
        lesions=_shown_lesions(case.lesions, grid, pictures),
        certainty=files.notes.certainty(name),
    )


def find_images(
    images: Sequence[Path],
    prediction: Path,
    edition: str,
    edition_file: Path | None,
    absent: Mapping[str, Sequence[str]],
) -> CaseSet:
    """Find the images of cases; leave out sequences that no case has.

    Args:
        images: folders of raw BraTS cases, or of nnU-Net's images.
        prediction: folder of label maps.
        edition: of the images, see `detect_edition`.
        edition_file: the description of a custom edition.
        absent: case id → sequences without which it was predicted; it may lack these, and no others.

    Raises:
        InputError: no case, or no edition.
    """
    names = _channel_names([*(folder.resolve().parent for folder in images), prediction])
    allowed = {name for of_case in absent.values() for name in of_case if name in names or sequence_named(name)}
    found = find_prediction_cases(images, names, edition, edition_file, allowed)
    there = {name for case in found.cases for name in case.images}
    left = tuple(name for name, channel in zip(names, found.channels, strict=True) if channel in there)
    if left != names:
        found = find_prediction_cases(images, left, edition, edition_file, allowed)
    cases = [_may_lack(case, allowed & set(absent.get(case.case_id, ())), allowed, found) for case in found.cases]
    return replace(found, cases=cases)


def _may_lack(case: RawCase, absent: Collection[str], allowed: Collection[str], found: CaseSet) -> RawCase:
    """Return a case that may lack what it lacked when it was converted or predicted, and not what others lacked.

    Args:
        case: of ``found``, which let it lack all that is allowed.
        absent: what it lacked when it was predicted.
        allowed: what any case lacked then.
        found: with the names of the channels.
    """
    of_others = optional_channels(allowed, found.channels)
    own = optional_channels(absent, found.channels)
    return replace(case, optional=(*own, *(name for name in case.optional if name not in of_others)))


def _channel_names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the channel names in the first dataset.json of these folders; BraTS' names where there is none."""
    for folder in folders:
        try:
            names = read_json(folder / DATASET_JSON)["channel_names"]
            return tuple(str(names[key]) for key in sorted(names, key=int))
        except (InputError, LookupError, TypeError, ValueError):
            continue  # no dataset.json, or no names in it
    return CHANNEL_NAMES


def _told(lesion: UnmatchedLesion, voxel_volume: float) -> str:
    """Return what the viewer says of a lesion; it explains the coordinates, which name no side of the brain."""
    peak = "" if lesion.peak_probability is None else f", peak probability {lesion.peak_probability:.2f}"
    place = ", ".join(f"{axis} {value:.0f}" for axis, value in zip("xyz", lesion.position, strict=True))
    return f"{lesion.kind} {lesion.region}: {_size(lesion.volume, voxel_volume)}{peak}, at {place} mm"


def _size(volume: float, voxel_volume: float) -> str:
    """Return a volume in ml, or in voxels where it is too small for two digits of ml."""
    if volume >= _LEAST_IN_ML:
        return f"{volume / 1000:.2f} ml"
    n = round(volume / voxel_volume)
    return f"{n} voxel{'s' if n > 1 else ''}"


def _shown_lesions(
    lesions: Sequence[UnmatchedLesion], grid: sitk.Image, pictures: Pictures | None
) -> list[ShownLesion]:
    """Return lesions in words, and where the pictures show them.

    Args:
        lesions: on the grid of the label map.
        grid: its image.
        pictures: None where there are none.
    """
    if pictures is None or not lesions:
        return [ShownLesion(_told(lesion, _voxel_volume(grid)), None) for lesion in lesions]
    displayed = sitk.DICOMOrient(grid, _DISPLAYED)
    first = pictures.origin
    shown = []
    for lesion in lesions:
        point = grid.TransformIndexToPhysicalPoint((lesion.x, lesion.y, lesion.z))
        x, y, z = displayed.TransformPhysicalPointToIndex(point)
        text = _told(lesion, _voxel_volume(grid))
        shown.append(ShownLesion(text, (z - first[0], y - first[1], x - first[2])))
    return shown


def _volumes(prediction: LabelValues, grid: sitk.Image, protocol: Protocol) -> dict[str, float]:
    """Return region → mm³ of a label map."""
    voxel_volume = _voxel_volume(grid)
    return {
        region: float(np.isin(prediction, rule.labels).sum()) * voxel_volume
        for region, rule in protocol.regions.items()
    }


def _flags(name: str, files: CaseFiles, grid: sitk.Image, prediction: LabelValues, *, has_reference: bool) -> list[str]:
    protocol = files.protocol
    labels = in_nnunet_values(prediction, protocol)
    probabilities = files.notes.mean_probabilities(name, labels, _saved_probabilities(name, files, grid, labels))
    doubtful = doubts(files.notes.certainty(name), has_reference=has_reference)
    return [*doubtful, *flags(prediction, protocol, _voxel_volume(grid), probabilities)]


def _saved_probabilities(
    name: str, files: CaseFiles, grid: sitk.Image, labels: LabelValues
) -> SavedProbabilities | None:
    """Return the probabilities next to the label map of a case, else next to that before post-processing."""
    saved = saved_probabilities(files.label_maps[PREDICTION].files[name].parent, name, labels, grid)
    before = files.label_maps.get(BEFORE)
    if saved is not None or before is None or name not in before.files:
        return saved
    of_before = read_protocol_labels(before.files[name], before.convention, files.protocol)[1]
    return saved_probabilities(before.files[name].parent, name, in_nnunet_values(of_before, files.protocol), grid)


def _voxel_volume(grid: sitk.Image) -> float:
    return float(np.prod(grid.GetSpacing()))


def _pictures(name: str, files: CaseFiles, grid: sitk.Image, prediction: LabelValues) -> Pictures:
    """Read images and label maps of a case, check that they are on one grid, and draw them."""
    loaded = load_case(files.raw_case(name), files.images.edition, files.images.channels)
    check_same_grid(grid, files.label_maps[PREDICTION].files[name], loaded.grid, "the images")
    labels = {PREDICTION: prediction}
    for other in (REFERENCE, BEFORE):
        if other in files.label_maps and name in files.label_maps[other].files:
            other_grid, labels[other] = _labels(name, other, files)
            check_same_grid(other_grid, files.label_maps[other].files[name], loaded.grid, "the images")
    if BEFORE in labels and np.array_equal(labels[BEFORE], prediction):
        del labels[BEFORE]
    channels = zip(files.images.channels, loaded.images, strict=True)
    images = {channel: image for channel, image in channels if channel not in loaded.absent}
    maps = _entropy_maps(name, files, loaded.grid)
    return make_pictures(
        _as_displayed(images, loaded.grid),
        _as_displayed(labels, loaded.grid),
        _as_displayed(maps, loaded.grid),
        _displayed_spacing(loaded.grid),
        files.quality,
    )


def _entropy_maps(name: str, files: CaseFiles, grid: sitk.Image) -> dict[str, NDArray[np.floating]]:
    """Read the maps of entropy of a case, region → bits (Z, Y, X), as far as ``predict`` has written them."""
    folder = files.label_maps[PREDICTION].files[name].parent
    maps = {}
    for region, file in files.notes.maps(name, ENTROPY).items():
        if (folder / file).is_file():
            image = read_image(folder / file)
            check_same_grid(image, folder / file, grid, "the images")
            maps[region] = sitk.GetArrayFromImage(image)
    return maps


def _labels(name: str, which: str, files: CaseFiles) -> tuple[sitk.Image, LabelValues]:
    """Read a label map (Z, Y, X) in the protocol's values."""
    maps = files.label_maps[which]
    return read_protocol_labels(maps.files[name], maps.convention, files.protocol)


def _as_displayed(volumes: Mapping[str, NDArray[Any]], grid: sitk.Image) -> dict[str, NDArray[Any]]:
    """Bring volumes (Z, Y, X) on one grid to the orientation that is shown."""
    displayed = {}
    for name, volume in volumes.items():
        image = sitk.GetImageFromArray(volume)
        image.CopyInformation(grid)
        displayed[name] = sitk.GetArrayFromImage(sitk.DICOMOrient(image, _DISPLAYED))
    return displayed


def _displayed_spacing(grid: sitk.Image) -> Spacing:
    """Return the spacing in mm of the orientation that is shown, in axis order."""
    x, y, z = sitk.DICOMOrient(grid, _DISPLAYED).GetSpacing()
    return z, y, x
