"""Everything that the report shows of one case."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from dataset_conversion.image_cases import CaseSet, load_case
from dataset_conversion.labels import nnunet_labels
from dataset_conversion.scan import RawCase
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.evaluation.cohort_metrics import PREDICTION, REFERENCE
from nnunet_resunet_ds.evaluation.label_maps import LabelMaps
from nnunet_resunet_ds.evaluation.pairs import check_same_grid, read_protocol_labels
from nnunet_resunet_ds.evaluation.protocols import Protocol
from nnunet_resunet_ds.report.flags import flags
from nnunet_resunet_ds.report.pictures import Pictures, Spacing, make_pictures
from nnunet_resunet_ds.report.prediction_folder import Beside

Item = TypeVar("Item")

BEFORE = "before"
"""The name of label maps before post-processing, next to `PREDICTION` and `REFERENCE`."""
_DISPLAYED = "LPS"
"""Orientation of what is shown: right of the patient on the left, as radiologists look at it."""


@dataclass(frozen=True)
class ReportCase:
    """One row of the table, and its viewer."""

    name: str
    volumes: Mapping[str, float]
    """Predicted mm³ by region."""
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Region → metric → value; empty without a reference."""
    flags: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """What ``predict`` said of the images."""
    changes: list[str] = field(default_factory=list)
    """What each step of post-processing did."""
    problem: str = ""
    """Why there are no pictures, where there should be."""
    pictures: Pictures | None = None


@dataclass(frozen=True)
class Sources:
    """Where the files of cases are."""

    protocol: Protocol
    images: CaseSet
    label_maps: Mapping[str, LabelMaps]
    """`PREDICTION`, and `REFERENCE` and `BEFORE` where there are."""
    beside: Beside
    """The predictions."""
    quality: int
    """Of pictures."""

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
        msg = f"{self.label_maps[PREDICTION].files[name]}: has no images by the name {name}; give their folder with -i"
        raise InputError(msg)

    def of(self, name: str) -> "Sources":
        """Return those of one case, as little as can be sent to another process."""
        cases = [self._raw_cases[name]] if name in self._raw_cases else []
        images = replace(self.images, cases=cases, problems=_only(name, self.images.problems))
        label_maps = {which: replace(maps, files=_only(name, maps.files)) for which, maps in self.label_maps.items()}
        beside = Beside(_only(name, self.beside.cases), _only(name, self.beside.changes))
        return replace(self, images=images, label_maps=label_maps, beside=beside)

    @cached_property
    def _raw_cases(self) -> dict[str, RawCase]:
        return {case.case_id: case for case in reversed(self.images.cases)}  # of several, the first


def _only(name: str, mapping: Mapping[str, Item]) -> dict[str, Item]:
    return {name: mapping[name]} if name in mapping else {}


@dataclass(frozen=True)
class CasePart:
    """What `build_case` needs to know of a case."""

    name: str
    sources: Sources
    metrics: Mapping[str, Mapping[str, float]]
    with_pictures: bool


def build_case(case: CasePart) -> ReportCase:
    """Read a case and say everything of it; where its images cannot be shown, the rest of it.

    Raises:
        InputError: the prediction cannot be read, or has labels that the protocol lacks.
    """
    name, sources = case.name, case.sources
    grid, prediction = _labels(name, PREDICTION, sources)
    spacing = grid.GetSpacing()
    voxel_volume = float(np.prod(spacing))
    protocol, beside = sources.protocol, sources.beside
    folders = {maps.files[name].parent: None for maps in sources.label_maps.values() if name in maps.files}
    in_nnunet = nnunet_labels(prediction, protocol.labels) if protocol.labels else np.zeros_like(prediction)
    pictures, problem = None, ""
    if case.with_pictures:
        try:
            pictures = _pictures(name, sources, grid, prediction)
        except InputError as error:
            problem = str(error)
    return ReportCase(
        name,
        volumes={
            region: float(np.isin(prediction, rule.labels).sum()) * voxel_volume
            for region, rule in protocol.regions.items()
        },
        metrics=case.metrics,
        flags=flags(prediction, protocol, voxel_volume, beside.mean_probabilities(name, in_nnunet, grid, *folders)),
        warnings=beside.warnings(name),
        changes=list(beside.changes.get(name, [])),
        problem=problem,
        pictures=pictures,
    )


def _pictures(name: str, sources: Sources, grid: sitk.Image, prediction: NDArray[np.integer]) -> Pictures:
    loaded = load_case(sources.raw_case(name), sources.images.edition, sources.images.channels)
    check_same_grid(grid, sources.label_maps[PREDICTION].files[name], loaded.grid, "the images")
    labels = {PREDICTION: prediction}
    for other in (REFERENCE, BEFORE):
        if other in sources.label_maps and name in sources.label_maps[other].files:
            other_grid, labels[other] = _labels(name, other, sources)
            check_same_grid(other_grid, sources.label_maps[other].files[name], loaded.grid, "the images")
    if BEFORE in labels and np.array_equal(labels[BEFORE], prediction):
        del labels[BEFORE]
    turned, spacing = _as_displayed(
        {**dict(zip(sources.images.channels, loaded.images, strict=True)), **labels}, loaded.grid
    )
    return make_pictures(
        {modality: turned[modality] for modality in sources.images.channels},
        {which: turned[which] for which in labels},
        spacing,
        sources.quality,
    )


def _labels(name: str, which: str, sources: Sources) -> tuple[sitk.Image, NDArray[np.integer]]:
    """Read a label map (Z, Y, X) in the protocol's values."""
    maps = sources.label_maps[which]
    return read_protocol_labels(maps.files[name], maps.convention, sources.protocol)


def _as_displayed(volumes: Mapping[str, NDArray[Any]], grid: sitk.Image) -> tuple[dict[str, NDArray[Any]], Spacing]:
    """Turn volumes (Z, Y, X) on one grid to the orientation that is shown; return them and the spacing in mm."""
    turned = {}
    for name, volume in volumes.items():
        image = sitk.GetImageFromArray(volume)
        image.CopyInformation(grid)
        image = sitk.DICOMOrient(image, _DISPLAYED)
        turned[name] = sitk.GetArrayFromImage(image)
    x, y, z = image.GetSpacing()
    return turned, (z, y, x)
