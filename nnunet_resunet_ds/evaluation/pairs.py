"""Which prediction belongs to which reference, and reading both on one grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.errors import InputError
from nnunet_resunet_ds.evaluation.case import label_values
from nnunet_resunet_ds.evaluation.label_maps import LabelMaps, find_label_maps, to_protocol
from nnunet_resunet_ds.evaluation.protocols import Protocol
from nnunet_resunet_ds.images import geometry_difference, has_place, read_labels

MAX_NAMES_SHOWN = 10


@dataclass(frozen=True)
class Pair:
    """A prediction and its reference."""

    case: str
    reference: Path
    prediction: Path


@dataclass(frozen=True)
class Pairs:
    """What is to be compared, and how its values are to be read."""

    pairs: list[Pair]
    reference: LabelMaps
    prediction: LabelMaps
    unpaired: list[str]
    """A line about the references without prediction, and one about the predictions without reference."""


@dataclass(frozen=True)
class LoadedPair:
    """Both label maps in memory."""

    reference: NDArray[np.integer]
    """(X, Y, Z) as NIfTI's axes go and as the official scripts see them, in the protocol's values."""
    prediction: NDArray[np.integer]
    spacing: tuple[float, ...]
    """In mm, in the same order."""


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
        InputError: nothing to compare, or cases have one file only.
    """
    first, second = find_label_maps(reference, reference_labels), find_label_maps(prediction, prediction_labels)
    if reference.is_file() and prediction.is_file():
        (case,) = second.files
        return Pairs([Pair(case, reference, prediction)], first, second, [])
    pairs = pair_label_maps(first, second)
    if pairs.unpaired and not allow_missing:
        raise InputError("\n".join([*pairs.unpaired, "leave these out with --allow-missing"]))
    return pairs


def pair_label_maps(reference: LabelMaps, prediction: LabelMaps) -> Pairs:
    """Pair label maps by the names of their cases.

    Raises:
        InputError: no case has both.
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
    return Pairs(pairs, reference, prediction, unpaired)


def load_pair(pair: Pair, pairs: Pairs, protocol: Protocol) -> LoadedPair:
    """Read a pair.

    Raises:
        InputError: a file cannot be read, they are not on one grid, or there are values that the protocol lacks.
    """
    first, reference = read_labels(pair.reference)
    second, prediction = read_labels(pair.prediction)
    both_placed = has_place(first) and has_place(second)
    difference = geometry_difference(second, first, voxels_only=not both_placed)
    if difference:
        msg = f"{pair.prediction}: {difference} of {pair.reference}; predictions must be on the grid of the reference"
        raise InputError(msg)
    return LoadedPair(
        _protocol_values(reference, pairs.reference.labels, protocol, pair.reference),
        _protocol_values(prediction, pairs.prediction.labels, protocol, pair.prediction),
        second.GetSpacing(),
    )


def _protocol_values(values: NDArray[np.integer], labels: str, protocol: Protocol, path: Path) -> NDArray[np.integer]:
    return label_values(to_protocol(values, labels, protocol, path), protocol, str(path)).transpose()


def _unpaired(one: LabelMaps, other: LabelMaps, line: str) -> Sequence[str]:
    cases = [case for case in one.files if case not in other.files]
    shown = ", ".join(cases[:MAX_NAMES_SHOWN]) + (" …" if len(cases) > MAX_NAMES_SHOWN else "")
    return [f"{line} {len(cases)} of {len(one.files)} cases: {shown}"] if cases else []
