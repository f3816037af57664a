"""Find the reference of each prediction, and read both on one grid."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from dataset_conversion.label_conventions import LabelConvention
from dataset_conversion.labels import nnunet_labels
from dataset_conversion.own_names import case_of_segmentation
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.images import geometry_difference, has_place, read_labels
from nnunet_resunet_ds.evaluation.label_maps import (
    LabelMaps,
    LabelValues,
    are_other_cases,
    find_label_maps,
    protocol_values,
    to_protocol,
)
from nnunet_resunet_ds.evaluation.protocols import Protocol
from nnunet_resunet_ds.evaluation.run_notes import models_warnings, origin_warnings

MAX_NAMES_SHOWN = 10

Conventions = tuple[LabelConvention | None, LabelConvention | None]
"""What the label values of reference and prediction mean; None: they are the protocol's own."""


@dataclass(frozen=True)
class Pair:
    """A prediction and its reference."""

    case: str
    reference: Path
    prediction: Path


@dataclass(frozen=True)
class Pairs:
    """The pairs to compare, and what their values mean."""

    pairs: list[Pair]
    reference: LabelMaps
    prediction: LabelMaps
    unpaired: list[str]
    """A line about the references without prediction, and one about the predictions without reference."""

    @property
    def warnings(self) -> list[str]:
        """Return the lines that the user must see before the numbers."""
        return [
            *origin_warnings(self.reference, self.prediction),
            *self._of_other_cases(),
            *self._undeclared(),
            *models_warnings(self.prediction.source, (pair.prediction for pair in self.pairs)),
            *self.unpaired,
        ]

    def _of_other_cases(self) -> Iterator[str]:
        """Yield a line where two files are compared whose names are, or seem to be, those of different cases."""
        first, named = self.pairs[0], case_of_segmentation(next(iter(self.reference.files)))
        seem_others = are_other_cases(first.case, named) or _differ_in_numbers(first.case, named)
        if first.case not in self.reference.files and seem_others:
            yield f"{first.prediction} is of {first.case}, and {first.reference} of {named}: is it the same patient?"

    def _undeclared(self) -> Iterator[str]:
        """Yield a line about each side of which nothing says what its values mean."""
        for maps, flag in ((self.reference, "--ref-labels"), (self.prediction, "--pred-labels")):
            if not maps.is_declared:
                yield (
                    f"{maps.source}: no file says what its label values mean, so they are read as those of the "
                    f"protocol; where they are others, say it with {flag}, such as nnunet or 2021"
                )


def _differ_in_numbers(one: str, other: str) -> bool:
    """Tell whether two names differ in their numbers alone, as P001 and P002 do."""
    plain, other_plain = (re.sub(r"\d+", "0", name) for name in (one, other))
    return one != other and plain == other_plain


@dataclass(frozen=True)
class LoadedPair:
    """The label maps of a pair, in memory and on one grid."""

    reference: NDArray[np.integer]
    """(X, Y, Z), the order of NIfTI and of the official scripts; in the protocol's values."""
    prediction: NDArray[np.integer]
    grid: sitk.Image
    """Of the prediction."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """In mm, in the same order."""
        spacing: tuple[float, ...] = self.grid.GetSpacing()
        return spacing


def find_pairs(
    reference: Path,
    prediction: Path,
    *,
    reference_labels: str | None = None,
    prediction_labels: str | None = None,
    allow_missing: bool = False,
) -> Pairs:
    """Pair two files, or the files of two folders by the names of their cases.

    Args:
        reference: file or folder, see `find_label_maps`.
        prediction: the same kind.
        reference_labels: what the values are, see `find_label_maps`.
        prediction_labels: the same.
        allow_missing: go on with the pairs where some cases have one file only.

    Raises:
        InputError: nothing to compare, cases have one file only, or a case has the same file on both sides.
    """
    first, second = find_label_maps(reference, reference_labels), find_label_maps(prediction, prediction_labels)
    if reference.is_file() and prediction.is_file():
        (case,) = second.files
        return _checked(Pairs([Pair(case, reference, prediction)], first, second, []))
    pairs = pair_label_maps(first, second)
    if pairs.unpaired and not allow_missing:
        raise InputError("\n".join([*pairs.unpaired, "leave these out with --allow-missing"]))
    return pairs


def pair_label_maps(reference: LabelMaps, prediction: LabelMaps) -> Pairs:
    """Pair label maps by the names of their cases.

    Raises:
        InputError: no case has both, or a case has the same file on both sides.
    """
    common = [case for case in reference.files if case in prediction.files]
    if not common:
        msg = (
            f"{prediction.source}: none of its cases, such as {next(iter(prediction.files))}, is in "
            f"{reference.source}, which has {next(iter(reference.files))}: the names of the files must be the same"
        )
        raise InputError(msg)
    unpaired = [
        *_unpaired(reference, prediction, f"{reference.source}: no prediction in {prediction.source} for"),
        *_unpaired(prediction, reference, f"{prediction.source}: no reference in {reference.source} for"),
    ]
    pairs = [Pair(case, reference.files[case], prediction.files[case]) for case in common]
    return _checked(Pairs(pairs, reference, prediction, unpaired))


def _checked(pairs: Pairs) -> Pairs:
    """Return pairs of which no case has one file on both sides.

    Raises:
        InputError: a case has.
    """
    same = [pair for pair in pairs.pairs if _is_one_file(pair.reference, pair.prediction)]
    if not same:
        return pairs
    msg = (
        f"{same[0].prediction}: is reference and prediction at once, in {len(same)} of {len(pairs.pairs)} cases; give "
        "the predictions with -pred, and where they lie among raw cases, move them to a folder of their own"
    )
    raise InputError(msg)


def _is_one_file(first: Path, second: Path) -> bool:
    """Tell whether two paths, links among them, lead to one file; where one leads nowhere, reading it says so."""
    try:
        return first.samefile(second)
    except OSError:
        return False


def load_pair(pair: Pair, conventions: Conventions, protocol: Protocol) -> LoadedPair:
    """Read the two label maps of a pair, and check that they are on one grid.

    Args:
        pair: the files.
        conventions: of the values of reference and prediction.
        protocol: the label maps are returned in its values.

    Raises:
        InputError: a file cannot be read, they are not on one grid, or there are values that the protocol lacks.
    """
    first, reference = read_protocol_labels(pair.reference, conventions[0], protocol)
    second, prediction = read_protocol_labels(pair.prediction, conventions[1], protocol)
    check_same_grid(second, pair.prediction, first, str(pair.reference))
    return LoadedPair(reference.transpose(), prediction.transpose(), second)


def read_protocol_labels(
    path: Path, convention: LabelConvention | None, protocol: Protocol
) -> tuple[sitk.Image, LabelValues]:
    """Read a label map; return its grid and its voxels (Z, Y, X) in the protocol's values.

    Args:
        path: of the file.
        convention: what its values mean; None is the protocol's own.
        protocol: the label maps are returned in its values.

    Raises:
        InputError: it cannot be read, or has values that the protocol lacks.
    """
    grid, values = read_labels(path)
    return grid, protocol_values(to_protocol(values, convention, protocol, path), protocol, str(path))


def in_nnunet_values(labels: LabelValues, protocol: Protocol) -> LabelValues:
    """Translate the voxels (any shape) of a label map from a protocol's values to nnU-Net's."""
    return nnunet_labels(labels, protocol.labels) if protocol.labels else labels


def check_same_grid(grid: sitk.Image, path: Path, other: sitk.Image, of: str) -> None:
    """Check that two images are on one grid; where one has no place in space, compare only their voxels.

    Raises:
        InputError: they are not; the message names ``path`` and ``of``.
    """
    both_placed = has_place(grid) and has_place(other)
    difference = geometry_difference(grid, other, voxels_only=not both_placed)
    if difference:
        msg = f"{path}: {difference} of {of}; they must be on one grid"
        raise InputError(msg)


def _unpaired(one: LabelMaps, other: LabelMaps, line: str) -> Sequence[str]:
    cases = [case for case in one.files if case not in other.files]
    shown = ", ".join(cases[:MAX_NAMES_SHOWN]) + (" …" if len(cases) > MAX_NAMES_SHOWN else "")
    return [f"{line} {len(cases)} of {len(one.files)} cases: {shown}"] if cases else []
