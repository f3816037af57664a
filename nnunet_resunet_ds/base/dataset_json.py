"""Read nnU-Net's dataset.json: its regions, whether nnU-Net trains on them, and whether WT, TC and ET come first."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_resunet_ds.base.errors import InputError, said_of
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, IDENTITY
from nnunet_resunet_ds.base.regions import REGIONS, Region, begin_with_tumour_regions
from nnunet_resunet_ds.base.setting_checks import check_whole_number

NO_REGIONS = ("background", "ignore")
"""Labels in dataset.json for which the network has no output."""
_REMEDY = (
    "make the dataset with 'resunet-ds convert', or give dataset.json the labels and regions_class_order of nnU-Net's "
    "BraTS 2021 script and preprocess it again"
)


def check_regions(dataset_json: Mapping[str, Any]) -> None:
    """Check that the labels are regions, as nnU-Net takes them, and that painting them makes the same labels again.

    nnU-Net takes labels as regions where one of them lists two values or more; a region of one value lists it twice.

    Raises:
        InputError: the labels are plain, or `check_class_order` finds a contradiction.
    """
    if not isinstance(dataset_json, Mapping) or not isinstance(dataset_json.get("labels"), Mapping):
        msg = f"dataset.json has no labels: {_REMEDY}"
        raise InputError(msg)
    if not _are_regions(dataset_json) or not dataset_json.get("regions_class_order"):
        msg = (
            "dataset.json has plain labels, and ResUNetDS segments regions: list the values of each label, such as "
            f'"GTV": [1, 1] where it is one, and give regions_class_order; or {_REMEDY}'
        )
        raise InputError(msg)
    check_class_order(dataset_json)


def has_tumour_regions(dataset_json: Mapping[str, Any]) -> bool:
    """Tell whether the first three regions of a checked dataset.json are WT, TC and ET."""
    regions = [Region(name, name, tuple(values)) for name, values in _labels(dataset_json).items()]
    return begin_with_tumour_regions(regions, dataset_json["regions_class_order"])


def regions_of(dataset_json: Mapping[str, Any]) -> tuple[Region, ...]:
    """Return the regions of a checked dataset.json, in the order of the network's outputs.

    WT, TC and ET have these names whatever dataset.json calls them; others have what their words are.
    """
    labels = _labels(dataset_json)
    names = [" ".join(re.findall("[a-z0-9]+", name.lower())) for name in labels]
    if has_tumour_regions(dataset_json):
        names[: len(REGIONS)] = [region.name for region in REGIONS]
    long_names, values = labels.keys(), labels.values()
    return tuple(
        Region(name, long_name, tuple(sorted(labels)))
        for name, long_name, labels in zip(names, long_names, values, strict=True)
    )


def have_other_cases(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two dataset.json note different training cases; False where one of them notes nothing."""
    identities = [content.get(IDENTITY) for content in (one, other)]
    return None not in identities and identities[0] != identities[1]


def check_class_order(dataset_json: Mapping[str, Any]) -> None:
    """Check that the regions of a label map, painted by ``regions_class_order``, make the same label map again.

    nnU-Net paints region after region, each with one value. So this value must belong to the region, and to no region
    that is painted later. Where there are no labels, or no order, nothing is checked.

    Raises:
        InputError: they do not; the message has the right order, where there is one.
    """
    if not isinstance(dataset_json, Mapping) or not isinstance(dataset_json.get("labels"), Mapping):
        return
    labels, order = _labels(dataset_json), dataset_json.get("regions_class_order")
    regions = list(labels.values())
    if not order or not _are_regions(dataset_json):
        return
    if not isinstance(order, list | tuple) or len(order) != len(regions):
        msg = f"regions_class_order of dataset.json must be one label a region, {len(regions)} in all; got {order!r}"
        raise InputError(msg)
    problem = _contradiction(list(labels), _labels_that_stay(regions), order)
    if problem:
        raise InputError(problem)


def _contradiction(names: Sequence[str], candidates: Sequence[set[int]], order: Sequence[Any]) -> str:
    """Say which regions are painted with none of their candidates, and what to do; "" where every region is right."""
    hidden = [name for name, labels in zip(names, candidates, strict=True) if not labels]
    if hidden:
        return (
            f"in dataset.json, every label of {', '.join(hidden)} is also of a region that is painted later, so no "
            f"regions_class_order is right: {_REMEDY}"
        )
    right = [
        value if _is_among(value, labels) else min(labels) for value, labels in zip(order, candidates, strict=True)
    ]
    wrong = [
        f"{name} is painted {found}" for name, found, value in zip(names, order, right, strict=True) if found != value
    ]
    if not wrong:
        return ""
    return (
        f"regions_class_order {list(order)} of dataset.json contradicts its regions ({', '.join(wrong)}): each must be "
        f"painted a label of its own, and of no region painted later; make it {right}, and predict again what was "
        "predicted with the other"
    )


def _labels_that_stay(regions: Sequence[set[int]]) -> list[set[int]]:
    """Return for each region the labels that no later region has."""
    return [region.difference(*regions[number + 1 :]) for number, region in enumerate(regions)]


def _is_among(value: object, labels: set[int]) -> bool:
    return isinstance(value, int) and value in labels


def _are_regions(dataset_json: Mapping[str, Any]) -> bool:
    """Tell whether nnU-Net takes the labels as regions."""
    return any(isinstance(value, list | tuple) and len(value) > 1 for value in dataset_json["labels"].values())


def check_region_weights(weights: Sequence[float] | None, dataset_json: Mapping[str, Any]) -> None:
    """Check that a recipe has one of ``region_weights`` for each region.

    Raises:
        InputError: there are more or fewer weights than regions in dataset.json.
    """
    n_regions = len(dataset_json["regions_class_order"])
    if weights is not None and len(weights) != n_regions:
        msg = (
            f"the recipe has {len(weights)} region_weights, and dataset.json has {n_regions} regions: give one weight "
            "for each region"
        )
        raise InputError(msg)


def _labels(dataset_json: Mapping[str, Any]) -> dict[str, set[int]]:
    """Return the label values of each output that nnU-Net makes, by its name in dataset.json.

    Raises:
        InputError: a label is no whole number.
    """
    named = {name: values for name, values in dataset_json["labels"].items() if name not in NO_REGIONS}
    listed = {name: value if isinstance(value, list | tuple) else [value] for name, value in named.items()}
    for values in listed.values():
        for label in values:
            check_whole_number("each label in dataset.json", label, at_least=0)
    return {name: set(values) for name, values in listed.items()}


def read_dataset_json(folder: Path) -> Mapping[str, Any] | None:
    """Return the checked ``dataset.json`` of a folder, which prediction copies from the model; None without one.

    Raises:
        InputError: its labels are no regions, or contradict themselves.
    """
    file = folder / DATASET_JSON
    if not file.is_file():
        return None
    content: Mapping[str, Any] = read_json(file)
    with said_of(file):
        check_regions(content)
    return content


def checked_dataset_json(folder: Path) -> Mapping[str, Any]:
    """Return the checked dataset.json of a model.

    Raises:
        InputError: it is missing, or its labels are no regions.
    """
    content = read_dataset_json(folder)
    if content is None:
        msg = f"{folder / DATASET_JSON}: missing; give the model folder that training wrote, unchanged"
        raise InputError(msg)
    return content
