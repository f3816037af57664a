"""That a dataset has the regions that network, loss and thresholds are about, as its dataset.json says."""

from collections.abc import Mapping, Sequence
from typing import Any

from nnunet_resunet_ds.errors import InputError
from nnunet_resunet_ds.regions import REGIONS, REGIONS_CLASS_ORDER

_REMEDY = (
    "make the dataset with 'resunet-ds convert', or give dataset.json the labels and regions_class_order of nnU-Net's "
    "BraTS 2021 script and preprocess it again"
)


def check_regions(dataset_json: Mapping[str, Any]) -> None:
    """Refuse labels that are not regions, or whose first three are not WT, TC and ET.

    Raises:
        InputError: plain labels; regions that are not each inside the one before; or another order of labels.
    """
    if not isinstance(dataset_json, Mapping) or not isinstance(dataset_json.get("labels"), Mapping):
        msg = f"dataset.json has no labels: {_REMEDY}"
        raise InputError(msg)
    regions = _regions(dataset_json)
    if all(len(region) == 1 for region in regions) or not dataset_json.get("regions_class_order"):
        msg = f"dataset.json has plain labels, and ResUNetDS segments the regions WT, TC and ET: {_REMEDY}"
        raise InputError(msg)
    nested = len(regions) >= len(REGIONS) and regions[0] > regions[1] > regions[2]
    order = tuple(dataset_json["regions_class_order"][: len(REGIONS)])
    if not nested or order != REGIONS_CLASS_ORDER:
        msg = (
            "the first regions of dataset.json are not WT, TC and ET, each inside the one before and painted "
            f"{', '.join(map(str, REGIONS_CLASS_ORDER))}: {_REMEDY}"
        )
        raise InputError(msg)


def check_region_weights(weights: Sequence[float] | None, dataset_json: Mapping[str, Any]) -> None:
    """Refuse a recipe whose ``region_weights`` are not one a region.

    Raises:
        InputError: there are more or fewer weights than regions in dataset.json.
    """
    n_regions = len(dataset_json["regions_class_order"])
    if weights is not None and len(weights) != n_regions:
        msg = (
            f"the recipe has {len(weights)} region_weights, and dataset.json has {n_regions} regions: give one a region"
        )
        raise InputError(msg)


def _regions(dataset_json: Mapping[str, Any]) -> list[set[int]]:
    """Return the label values of each output that nnU-Net makes, in order."""
    values = [value for name, value in dataset_json["labels"].items() if name not in ("background", "ignore")]
    return [set(value) if isinstance(value, list | tuple) else {value} for value in values]
