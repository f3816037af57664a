"""Opening every file of a case: what is wrong with it, what is odd, and what must be mended on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dataset_conversion.edition import Edition
from dataset_conversion.intensity import (
    MAX_NON_ZERO,
    MAX_SATURATED,
    MIN_COVERAGE,
    Mask,
    Values,
    brain_mask,
    coverage,
    saturated_share,
)
from dataset_conversion.labels import tissue_voxels
from dataset_conversion.opening import compare_grids, open_case
from dataset_conversion.scan import RawCase
from nnunet_resunet_ds.base.regions import Tissue


@dataclass(frozen=True)
class Fixes:
    """What the voxels and headers of a case need before nnU-Net can take them."""

    fills: Mapping[str, float] = field(default_factory=dict)
    """Channel name → value of its background, which becomes 0."""
    misplaced: Mapping[Path, str] = field(default_factory=dict)
    """File → what is amiss with the place that its header gives; it gets the geometry of the others."""
    turned: Mapping[Path, str] = field(default_factory=dict)
    """File → how its axes are stored; they are turned onto the grid of the others."""

    noted: Mapping[Path, list[str]] = field(default_factory=dict)
    """Image file → what reading has put right in its header, and nnU-Net would stumble over."""

    def is_fit(self, path: Path) -> bool:
        """Tell whether nnU-Net can take the header and the order of the voxels of an image file as they are."""
        return self.has_own_grid(path) and path not in self.noted

    def has_own_grid(self, path: Path) -> bool:
        """Tell whether a file lies on the grid of its case as it is."""
        return path not in self.misplaced and path not in self.turned


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
    opened = open_case(case, edition)
    if not opened.grids:
        return CaseReport(opened.problems)
    comparison = compare_grids(opened.grids)
    problems = [*opened.problems, *comparison.differences]
    if problems or not opened.values:
        return CaseReport(problems)
    brain = brain_mask(opened.values)
    warnings = [*opened.warnings, *intensity_warnings(opened.values, brain)]
    noted = {path: notes for path, notes in opened.noted.items() if path != case.segmentation}
    fixes = Fixes(opened.fills, comparison.misplaced, opened.turned, noted)
    if opened.labels is None:
        return CaseReport([], warnings, fixes)
    voxels = tissue_voxels(opened.counts, edition)
    warnings += _label_warnings(opened.labels, voxels, brain)
    return CaseReport([], warnings, fixes, voxels)


def intensity_warnings(values: Mapping[str, Values], brain: Mask) -> list[str]:
    """Return ``KIND: detail`` of what is odd about the images of a case.

    Args:
        values: channel name → voxels (Z, Y, X).
        brain: where any of them is non-zero.
    """
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
