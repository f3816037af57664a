"""Report on a case: what is wrong with it, what is odd, and what must be corrected when it is written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from dataset_conversion.declared_labels import check_said
from dataset_conversion.editions import Edition
from dataset_conversion.exchanged import exchanged_by_content
from dataset_conversion.find_cases import RawCase
from dataset_conversion.intensity import Mask, brain_mask, intensity_warnings
from dataset_conversion.label_conventions import LabelConvention
from dataset_conversion.labels import nnunet_labels, tissue_voxels
from dataset_conversion.read_case import OpenedCase, SourceFile, compare_grids, open_case, open_labels_only
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.images import image_file
from nnunet_resunet_ds.base.reader_space import orientation
from nnunet_resunet_ds.base.regions import Target, Tissue


@dataclass(frozen=True)
class Fixes:
    """What voxels and headers of a case need before nnU-Net can take them."""

    fills: Mapping[str, float] = field(default_factory=dict)
    """Channel name → value of its background, which becomes 0."""
    misplaced: Mapping[Path, str] = field(default_factory=dict)
    """File → what is wrong with the place that its header gives; it gets the geometry of the others."""
    turned: Mapping[Path, str] = field(default_factory=dict)
    """File → how its axes are stored; they are turned onto the grid of the others."""
    noted: Mapping[Path, list[str]] = field(default_factory=dict)
    """Image file → what was corrected in its header as it was read, which nnU-Net cannot read as it is."""

    def is_fit(self, path: Path) -> bool:
        """Tell whether nnU-Net can take the header and the order of the voxels of an image file as they are."""
        return self.has_own_grid(path) and path not in self.noted

    def has_own_grid(self, path: Path) -> bool:
        """Tell whether a file lies on the grid of its case as it is."""
        return path not in self.misplaced and path not in self.turned


class LabelFile(NamedTuple):
    """The label map of a case, ready to be written."""

    content: bytes
    """Of a ``.nii.gz`` file with nnU-Net's label values; some tens of kB."""
    repairs: list[str]
    """What was corrected."""


@dataclass(frozen=True)
class CaseReport:
    """What came out of reading a case: all that is needed to write it, but for the voxels of its images."""

    problems: list[str] = field(default_factory=list)
    """Each names the file, what is wrong and what to do; with any, the case cannot be converted."""
    warnings: list[str] = field(default_factory=list)
    """``KIND: detail`` of what is odd and may be right all the same."""
    fixes: Fixes = field(default_factory=Fixes)
    absent: tuple[str, ...] = ()
    """Channels that may be absent and are."""
    voxels: dict[str, int] = field(default_factory=dict)
    """Of each tissue; empty without a segmentation."""
    sources: Mapping[Path, SourceFile] = field(default_factory=dict)
    label_file: LabelFile | None = None
    """None without a segmentation, or where it was not asked for."""
    orientation: str | None = None
    """Where the axes of its images point, such as LPS; None where no image was opened."""


def inspect_case(case: RawCase, edition: Edition, *, keep_labels: bool = False) -> CaseReport:
    """Read every file of a case, complete or not, and report on it.

    Args:
        case: to read.
        edition: of the case.
        keep_labels: translate the label map, too, so that it need not be read again to write it.

    Raises:
        InputError: the segmentation is a prediction of ours in other values.
    """
    _check_segmentation(case, edition)
    opened = open_case(case, edition)
    if not opened.grids:
        return CaseReport(opened.problems)
    comparison = compare_grids(opened.grids)
    problems = [*opened.problems, *comparison.differences]
    if problems or not opened.values:
        return CaseReport(problems)
    brain = brain_mask(opened.values)
    spacing = comparison.reference.GetSpacing()[::-1]
    odd = [*intensity_warnings(opened.values, brain), *exchanged_by_content(opened.values, spacing)]
    warnings = [*opened.warnings, *odd]
    stored = orientation(comparison.reference)
    noted = {path: notes for path, notes in opened.noted.items() if path != case.segmentation}
    fixes = Fixes(opened.fills, comparison.misplaced, opened.turned, noted)
    if opened.labels is None or case.segmentation is None:
        return CaseReport([], warnings, fixes, opened.absent, sources=opened.sources, orientation=stored)
    voxels = tissue_voxels(opened.counts, edition)
    warnings += _label_warnings(opened.labels, voxels, brain)
    label_file = _label_file(opened, opened.labels, case.segmentation, fixes, edition) if keep_labels else None
    return CaseReport([], warnings, fixes, opened.absent, voxels, opened.sources, label_file, stored)


def _check_segmentation(case: RawCase, edition: Edition) -> None:
    """Refuse a prediction of ours that lies in the place of an expert's segmentation, in other values.

    Raises:
        InputError: ``run.json`` next to it says so.
    """
    if case.segmentation is not None:
        remedy = "it is a prediction, and no reference: put the expert's segmentation there"
        check_said(LabelConvention.of(edition), [case.segmentation], remedy)


def inspect_labels_only(case: RawCase, edition: Edition) -> CaseReport:
    """Read the label map of a case and report on it; its images are taken to be fit for nnU-Net.

    Raises:
        InputError: a file cannot be read, or the label map is damaged or has values of another edition.
    """
    _check_segmentation(case, edition)
    opened = open_labels_only(case, edition)
    if opened.problems:
        raise InputError(*opened.problems)
    absent = tuple(name for name in case.optional if name not in case.images)
    if opened.labels is None or case.segmentation is None:
        return CaseReport(absent=absent, sources=opened.sources)
    label_file = _label_file(opened, opened.labels, case.segmentation, Fixes(), edition)
    voxels = tissue_voxels(opened.counts, edition)
    return CaseReport(absent=absent, voxels=voxels, sources=opened.sources, label_file=label_file)


def _label_file(
    opened: OpenedCase, labels: NDArray[np.integer], path: Path, fixes: Fixes, edition: Edition
) -> LabelFile:
    """Translate the label map of a case, on the grid of the other files where its own is not right."""
    stored_type = opened.grids[path].GetPixelIDTypeAsString()
    image = sitk.GetImageFromArray(nnunet_labels(labels, edition.tissues))
    image.CopyInformation(
        opened.grids[path if fixes.has_own_grid(path) else next(filter(fixes.has_own_grid, opened.grids))]
    )
    repairs = [f"{path.name} held labels as {stored_type}"] if "float" in stored_type else []
    repairs += opened.noted.get(path, [])
    return LabelFile(image_file(image), repairs)


def _label_warnings(labels: NDArray[np.integer], voxels: Mapping[str, int], brain: Mask) -> list[str]:
    outside = int(np.count_nonzero((labels != 0) > brain))
    warnings = [f"labels outside the brain: {outside} voxels"] if outside else []
    expected = {Tissue.ET.name: "no enhancing tumour", Target.GTV.name: "no gross tumour volume"}
    return [*warnings, *(f"{kind}: none is labelled" for name, kind in expected.items() if voxels.get(name) == 0)]
