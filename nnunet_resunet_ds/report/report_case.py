"""Read one case for the report: its images, label maps, volumes and remarks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from dataset_conversion.image_cases import load_case
from nnunet_resunet_ds.base.case_notes import TRAINING_CASE, is_training_case
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.images import read_image
from nnunet_resunet_ds.evaluation.case_metrics import Metrics
from nnunet_resunet_ds.evaluation.cohort_metrics import PREDICTION, REFERENCE
from nnunet_resunet_ds.evaluation.label_maps import LabelValues
from nnunet_resunet_ds.evaluation.pairs import check_same_grid, in_nnunet_values, read_protocol_labels
from nnunet_resunet_ds.evaluation.protocols import Protocol
from nnunet_resunet_ds.evaluation.unmatched_lesions import UnmatchedLesion
from nnunet_resunet_ds.report.case_files import BEFORE, CaseFiles
from nnunet_resunet_ds.report.display import as_displayed, displayed_spacing, voxel_volume
from nnunet_resunet_ds.report.pictures import Pictures, make_pictures
from nnunet_resunet_ds.report.remarks import (
    Certainty,
    doubts,
    flags,
)
from nnunet_resunet_ds.report.shown_lesions import ShownLesion, shown_lesions
from nnunet_resunet_ds.uncertainty.maps import ENTROPY
from postprocessing.saved_probabilities import SavedProbabilities, saved_probabilities


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
        lesions=shown_lesions(case.lesions, grid, pictures),
        certainty=files.notes.certainty(name),
    )


def _volumes(prediction: LabelValues, grid: sitk.Image, protocol: Protocol) -> dict[str, float]:
    """Return region → mm³ of a label map."""
    of_voxel = voxel_volume(grid)
    return {
        region: float(np.isin(prediction, rule.labels).sum()) * of_voxel for region, rule in protocol.regions.items()
    }


def _flags(name: str, files: CaseFiles, grid: sitk.Image, prediction: LabelValues, *, has_reference: bool) -> list[str]:
    protocol = files.protocol
    labels = in_nnunet_values(prediction, protocol)
    probabilities = files.notes.mean_probabilities(name, labels, _saved_probabilities(name, files, grid, labels))
    doubtful = doubts(files.notes.certainty(name), has_reference=has_reference)
    return [*doubtful, *flags(prediction, protocol, voxel_volume(grid), probabilities)]


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
        as_displayed(images, loaded.grid),
        as_displayed(labels, loaded.grid),
        as_displayed(maps, loaded.grid),
        displayed_spacing(loaded.grid),
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
