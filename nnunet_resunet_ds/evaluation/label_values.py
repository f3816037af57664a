"""What the values of a label map mean, and translating them to a protocol's."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataset_conversion.label_convention import CONVENTIONS, LabelConvention
from dataset_conversion.labels import listed
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.images import whole_numbers
from nnunet_resunet_ds.evaluation.protocols import Protocol

LabelValues = NDArray[np.integer]

PROTOCOL_LABELS = "protocol"
"""The key of a protocol's own label values."""
LABELS = (PROTOCOL_LABELS, *CONVENTIONS)
"""What label values can be said to be."""


def label_values(values: NDArray[Any], protocol: Protocol, name: str) -> LabelValues:
    """Return a label map as whole numbers.

    Args:
        values: of any real dtype.
        protocol: whose labels it has to have.
        name: of the label map, for messages.

    Raises:
        InputError: it has fractions, but for rounding errors, or labels that the protocol does not have.
    """
    values = np.asarray(values)
    if values.dtype == bool:
        values = values.view(np.uint8)
    whole = whole_numbers(values)
    if whole is None:
        msg = f"{name}: label values must be whole numbers; is this an image instead of a label map?"
        raise InputError(msg)
    values = whole
    known = {0, *(label for rule in protocol.regions.values() for label in rule.labels)}
    if sum(int(np.count_nonzero(values == label)) for label in known) != values.size:  # in half the time of unique
        unknown = sorted(set(np.unique(values).tolist()) - known)
        msg = (
            f"{name}: label values {listed(unknown)} are not among {protocol.title}'s {listed(sorted(known))}; "
            "choose another protocol, or say what the values are"
        )
        raise InputError(msg)
    return values


def to_protocol(
    values: LabelValues, convention: LabelConvention | None, protocol: Protocol, path: Path
) -> LabelValues:
    """Translate label values (any shape) to the protocol's.

    Args:
        values: of the file.
        convention: what they mean; None is the protocol's own.
        protocol: to evaluate by.
        path: for messages.

    Raises:
        InputError: there are values that the convention or the protocol does not have.
    """
    if convention is None:
        return values
    scheme = convention.tissues
    values_of = {tissue: value for value, tissue in protocol.labels.items()}
    found = np.unique(values[values != 0]).tolist()
    unknown = [value for value in found if value not in scheme or scheme[value] not in values_of]
    if unknown:
        msg = (
            f"{path}: label values {listed(unknown)} as of {convention.title} have no counterpart in "
            f"{protocol.title}; choose the protocol of this data with --protocol, or say what the values are"
        )
        raise InputError(msg)
    table = np.zeros(max(found, default=0) + 1, np.uint8)
    for value in found:
        table[value] = values_of[scheme[value]]
    translated: NDArray[np.uint8] = table[values]
    return translated
