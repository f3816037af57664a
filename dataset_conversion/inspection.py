"""Opening every file of a case: what is wrong with it, what is odd, and what must be mended on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from dataset_conversion.channels import read_channels
from dataset_conversion.edition import Edition
from dataset_conversion.intensity import (
    MAX_NON_ZERO,
    MAX_SATURATED,
    MIN_COVERAGE,
    Mask,
    Values,
    background_fill,
    brain_mask,
    coverage,
    saturated_share,
    without_fill,
)
from dataset_conversion.labels import label_counts, tissue_voxels, unknown_labels
from dataset_conversion.scan import RawCase
from nnunet_resunet_ds.errors import InputError
from nnunet_resunet_ds.images import geometry_difference, has_place, read_labels, shortened
from nnunet_resunet_ds.regions import Tissue


@dataclass(frozen=True)
class Fixes:
    """What the voxels and headers of a case need before nnU-Net can take them."""

    fills: Mapping[str, float] = field(default_factory=dict)
    """Channel name → value of its background, which becomes 0."""
    misplaced: Mapping[Path, str] = field(default_factory=dict)
    """File → what is amiss with the place that its header gives; it gets the geometry of the others."""


@dataclass(frozen=True)
class CaseReport:
    """What came out of opening a case."""

    problems: list[str] = field(default_factory=list)
    """Each names the file, what is wrong and what to do; with any, the case cannot be converted."""
    warnings: list[str] = field(default_factory=list)
    """``KIND: detail`` of what is odd and may be right all the same."""
    fixes: Fixes = field(default_factory=Fixes)
    voxels: dict[str, int] = field(default_factory=dict)
    """Of each tissue; empty without a segmentation."""


def inspect_case(case: RawCase, edition: Edition) -> CaseReport:
    """Open every file of a case, complete or not, and report on it."""
    opened = _open(case, edition)
    values: dict[str, Values] = {channel: sitk.GetArrayViewFromImage(image) for channel, image in opened.images.items()}
    fills = {channel: fill for channel in values if (fill := background_fill(values[channel])) is not None}
    values |= {channel: without_fill(values[channel], fill) for channel, fill in fills.items()}
    geometry_problems, misplaced = _compare_geometry(opened.grids)
    problems = [*opened.problems, *_value_problems(case, values), *geometry_problems]
    if problems or not values:
        return CaseReport(problems)
    brain = brain_mask(values)
    warnings = _intensity_warnings(values, brain)
    if opened.labels is None:
        return CaseReport([], warnings, Fixes(fills, misplaced))
    voxels = tissue_voxels(opened.counts, edition)
    warnings += _label_warnings(opened.labels, voxels, brain)
    return CaseReport([], warnings, Fixes(fills, misplaced), voxels)


@dataclass
class _Opened:
    images: dict[str, sitk.Image] = field(default_factory=dict)
    """Channel name → 3-D image."""
    labels: NDArray[np.integer] | None = None
    counts: dict[int, int] = field(default_factory=dict)
    """Voxels of each raw label value."""
    grids: dict[Path, sitk.Image] = field(default_factory=dict)
    """One 3-D image a file."""
    problems: list[str] = field(default_factory=list)


def _open(case: RawCase, edition: Edition) -> _Opened:
    opened = _Opened()
    for path in case.files:
        try:
            if path == case.segmentation:
                opened.grids[path], opened.labels = read_labels(path)
                opened.counts = label_counts(opened.labels, edition)
                opened.problems += unknown_labels(path, opened.labels, opened.counts, edition)
            else:
                channels = read_channels(path, case, edition)
                opened.images |= channels
                opened.grids[path] = next(iter(channels.values()))
        except InputError as error:
            opened.problems.append(str(error))
    return opened


def _value_problems(case: RawCase, values: Mapping[str, Values]) -> list[str]:
    """Name the images that hold nothing, or values that the header's scale makes infinite."""
    empty = [channel for channel in values if not values[channel].any()]
    floats = [channel for channel in values if np.issubdtype(values[channel].dtype, np.floating)]
    infinite = [channel for channel in floats if not np.isfinite([values[channel].min(), values[channel].max()]).all()]
    return [
        *(f"{case.images[channel]}: {channel} is zero everywhere; get the file again" for channel in empty),
        *(f"{case.images[channel]}: {channel} has infinite values; get the file again" for channel in infinite),
    ]


def _compare_geometry(grids: Mapping[Path, sitk.Image]) -> tuple[list[str], dict[Path, str]]:
    """Compare the voxel grids of a case's files with the one that most of them have.

    Returns:
        A line for each file that lies elsewhere, and what is to be mended: files whose header does not say where they
        lie, or whose spacing is off by less than matters, which nnU-Net would refuse.
    """
    if not grids:
        return [], {}
    placeless = frozenset(path for path, grid in grids.items() if not has_place(grid))
    if placeless == set(grids):
        placeless = frozenset()  # then they all lie in the same nowhere

    def difference(path: Path, other: Path) -> str | None:
        return geometry_difference(grids[path], grids[other], voxels_only=bool({path, other} & placeless))

    placed = [path for path in grids if path not in placeless]
    reference = max(placed, key=lambda path: sum(not difference(other, path) for other in grids))
    problems = [
        f"{path}: {found} as in {reference.name}; co-register all images of the case on one grid"
        for path in grids
        if (found := difference(path, reference))
    ]
    spacing = grids[reference].GetSpacing()
    misplaced = {
        path: f"spacing {shortened(grids[path].GetSpacing())}"
        for path in grids
        if not np.allclose(grids[path].GetSpacing(), spacing)
    }
    misplaced |= dict.fromkeys(placeless, "neither qform nor sform")
    return problems, misplaced


def _intensity_warnings(values: Mapping[str, Values], brain: Mask) -> list[str]:
    shares = coverage(values, brain)
    warnings = []
    if brain.mean() > MAX_NON_ZERO:
        warnings.append(f"not skull-stripped?: {brain.mean():.0%} of the voxels are not zero")
    if min(shares.values()) < MIN_COVERAGE:
        covered = ", ".join(f"{channel} {share:.0%}" for channel, share in shares.items())
        warnings.append(f"modalities cover different volumes: of the brain in any, {covered}")
    for channel, channel_values in values.items():
        share = saturated_share(channel_values)
        if share > MAX_SATURATED:
            warnings.append(f"saturated: {share:.1%} of {channel} is at its largest value {channel_values.max():g}")
        if channel_values.min() < 0:
            warnings.append(f"negative intensities: {channel} down to {channel_values.min():g}")
    return warnings


def _label_warnings(labels: NDArray[np.integer], voxels: Mapping[str, int], brain: Mask) -> list[str]:
    outside = int(np.count_nonzero((labels != 0) & ~brain))
    warnings = [f"labels outside the brain: {outside} voxels"] if outside else []
    return warnings if voxels[Tissue.ET.name] else [*warnings, "no enhancing tumour: none is labelled"]
