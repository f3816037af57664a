"""Check that dataset.json defines WT, TC and ET."""

from collections.abc import Mapping, Sequence
from typing import Any

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.nnunet_folders import IDENTITY
from nnunet_resunet_ds.base.regions import REGIONS, REGIONS_CLASS_ORDER
from nnunet_resunet_ds.base.setting_checks import check_whole_number

NO_REGIONS = ("background", "ignore")
"""Labels in dataset.json for which the network has no output."""
_REMEDY = (
    "make the dataset with 'resunet-ds convert', or give dataset.json the labels and regions_class_order of nnU-Net's "
    "BraTS 2021 script and preprocess it again"
)


def check_regions(dataset_json: Mapping[str, Any]) -> None:
    """Check that the labels are regions, and that the first three are WT, TC and ET.

    Raises:
        InputError: the labels are plain or in another order, a region is not inside the one before it, or
            `check_class_order` finds a contradiction.
    """
    if not isinstance(dataset_json, Mapping) or not isinstance(dataset_json.get("labels"), Mapping):
        msg = f"dataset.json has no labels: {_REMEDY}"
        raise InputError(msg)
    regions = _regions(dataset_json)
    if _are_plain(regions) or not dataset_json.get("regions_class_order"):
        msg = f"dataset.json has plain labels, and ResUNetDS segments the regions WT, TC and ET: {_REMEDY}"
        raise InputError(msg)
    check_class_order(dataset_json)
    nested = len(regions) >= len(REGIONS) and regions[0] > regions[1] > regions[2]
    order = tuple(dataset_json["regions_class_order"][: len(REGIONS)])
    if not nested or order != REGIONS_CLASS_ORDER:
        msg = (
            "the first regions of dataset.json are not WT, TC and ET, each inside the one before and painted "
            f"{', '.join(map(str, REGIONS_CLASS_ORDER))}: {_REMEDY}"
        )
        raise InputError(msg)


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
    regions, order = _regions(dataset_json), dataset_json.get("regions_class_order")
    if not order or _are_plain(regions):
        return
    if not isinstance(order, list | tuple) or len(order) != len(regions):
        msg = f"regions_class_order of dataset.json must be one label a region, {len(regions)} in all; got {order!r}"
        raise InputError(msg)
    problem = _contradiction(_region_names(dataset_json), _labels_that_stay(regions), order)
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


def _are_plain(regions: Sequence[set[int]]) -> bool:
    return all(len(region) == 1 for region in regions)


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


def _region_names(dataset_json: Mapping[str, Any]) -> list[str]:
    return [name for name in dataset_json["labels"] if name not in NO_REGIONS]


def _regions(dataset_json: Mapping[str, Any]) -> list[set[int]]:
    """Return the label values of each output that nnU-Net makes, in order.

    Raises:
        InputError: a label is no whole number.
    """
    values = [dataset_json["labels"][name] for name in _region_names(dataset_json)]
    regions = [list(value) if isinstance(value, list | tuple) else [value] for value in values]
    for region in regions:
        for label in region:
            check_whole_number("each label in dataset.json", label, at_least=0)
    return [set(region) for region in regions]
