"""Read a configuration of plans, and compare what decides its predictions."""

import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from nnunet_resunet_ds.base.errors import InputError

_OF_THE_NETWORK = ("patch_size", "spacing", "architecture", "normalization_schemes", "use_mask_for_norm")
_OF_THE_IMAGES = ("transpose_forward", "image_reader_writer")
"""Entries of plans that decide what a network predicts."""


def resolved_configuration(plans: Mapping[str, Any], configuration: str) -> dict[str, Any]:
    """Return one configuration with what it inherits filled in.

    Raises:
        InputError: there is no such configuration, or it inherits in a circle.
    """
    chain: list[Mapping[str, Any]] = []
    name: str | None = configuration
    while name is not None:
        entry = plans["configurations"].get(name)
        if entry is None or entry in chain:
            msg = f"the plans have no usable configuration {name!r}; they have {', '.join(plans['configurations'])}"
            raise InputError(msg)
        chain.append(entry)
        name = entry.get("inherits_from")
    merged: dict[str, Any] = {}
    for entry in reversed(chain):
        merged.update(deepcopy(dict(entry)))
    return merged


def changed_settings(trained: Mapping[str, Any] | None, plans: Mapping[str, Any], configuration: str) -> list[str]:
    """Return the names of entries that decide what a network predicts and differ from those it was trained with.

    Args:
        trained: the plans of its checkpoint; None, where it has none, differs in nothing.
        plans: to compare with.
        configuration: of both.

    Raises:
        InputError: one of the two does not have the configuration.
    """
    if trained is None:
        return []
    found = [
        {**{name: content.get(name) for name in _OF_THE_IMAGES}, **_of_the_network(content, configuration)}
        for content in (trained, plans)
    ]
    return [name for name, value in found[0].items() if value != found[1][name]]


def _of_the_network(plans: Mapping[str, Any], configuration: str) -> dict[str, Any]:
    settings = resolved_configuration(plans, configuration)
    chosen = {name: settings.get(name) for name in _OF_THE_NETWORK}
    plain: dict[str, Any] = json.loads(json.dumps(chosen))  # a tuple is a list in JSON
    return plain
