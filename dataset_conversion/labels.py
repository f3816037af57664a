"""Translate the values of label maps, count them, and name those that an edition does not have."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dataset_conversion.editions import Edition, LabelScheme

MAX_VALUES_SHOWN = 8
"""Of unknown labels; an image taken for a label map has hundreds."""


def nnunet_labels(values: NDArray[np.integer], tissues: LabelScheme) -> NDArray[np.uint8]:
    """Translate raw label values (any shape) to nnU-Net's; every value must be a key of ``tissues``."""
    return _translate(values, {raw: int(tissue) for raw, tissue in tissues.items()})


def raw_labels(labels: NDArray[np.integer], tissues: LabelScheme) -> NDArray[np.uint8]:
    """Translate nnU-Net's label values (any shape) to an edition's: the inverse of `nnunet_labels`."""
    return _translate(labels, {int(tissue): raw for raw, tissue in tissues.items()})


def _translate(values: NDArray[np.integer], new_values: Mapping[int, int]) -> NDArray[np.uint8]:
    """Exchange each value; by way of bytes, in half the time of indexing a table with an array."""
    table = bytes(new_values.get(value, 0) for value in range(256))
    translated = values.astype(np.uint8, copy=False).tobytes().translate(table)
    return np.frombuffer(translated, np.uint8).reshape(values.shape)


def label_counts(values: NDArray[np.integer], edition: Edition) -> dict[int, int]:
    """Count the voxels of each raw value that the edition has (four passes are a third of `numpy.unique`'s time)."""
    mask = np.empty(values.shape, bool)  # one for all: new memory costs more than the comparison
    return {raw: int(np.count_nonzero(np.equal(values, raw, out=mask))) for raw in edition.tissues}


def unknown_labels(path: Path, values: NDArray[np.integer], counts: Mapping[int, int], edition: Edition) -> list[str]:
    """Return a line about the raw values of a file that the edition does not have; none where it has them all.

    Args:
        path: for the message.
        values: raw label values, of any shape.
        counts: what `label_counts` returned for them.
        edition: of the file.
    """
    if sum(counts.values()) == values.size:
        return []
    unknown = sorted(set(np.unique(values).tolist()) - set(edition.tissues))
    return [
        f"{path}: label values {listed(unknown)} are not among {edition.title}'s {listed(sorted(edition.tissues))}; "
        "name the right edition with --edition, describe it with --edition-file, or correct the label map"
    ]


def listed(values: Sequence[int]) -> str:
    """Return label values for a message, the first few of many."""
    return ", ".join(map(str, values[:MAX_VALUES_SHOWN])) + (" …" if len(values) > MAX_VALUES_SHOWN else "")


def tissue_voxels(counts: Mapping[int, int], edition: Edition) -> dict[str, int]:
    """Name the tissues of `label_counts`, background left out."""
    return {edition.tissue_name(tissue): counts[raw] for raw, tissue in edition.tissues.items() if tissue}
