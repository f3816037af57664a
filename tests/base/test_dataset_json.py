"""Which orders of painting go with the regions of a dataset.json: those with which a label map comes back."""

import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dataset_conversion.editions import EDITIONS
from dataset_conversion.write import write_dataset_json
from nnunet_resunet_ds.base.dataset_json import check_class_order
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json

# Of a paediatric dataset in the values of its release: ET is 1.
PED = {"background": 0, "whole_tumor": [1, 2, 3, 4], "tumor_core": [1, 2, 3], "enhancing_tumor": 1}


def dataset_json(regions, order):
    labels = {f"region {number}": sorted(region) for number, region in enumerate(regions)}
    return {"labels": {"background": 0, **labels}, "regions_class_order": list(order)}


def painted(labels, regions, order):
    """What nnU-Net makes of a perfect prediction, one region over the other."""
    result = np.zeros_like(labels)
    for region, value in zip(regions, order, strict=True):
        result[np.isin(labels, list(region))] = value
    return result


def refusal(content):
    """The message, or None where it is accepted."""
    try:
        check_class_order(content)
    except InputError as error:
        return str(error)
    return None


def proposed(message):
    return [int(value) for value in re.search(r"make it \[([\d, ]+)\]", message)[1].split(",")]


@st.composite
def regions_within_each_other(draw):
    """Regions that are each inside an earlier one, or apart from it, as those of BraTS are."""
    regions = [draw(st.sets(st.integers(1, 6), min_size=2))]
    for _ in range(draw(st.integers(1, 3))):
        outside = set(range(1, 8)) - set().union(*regions)
        whole = draw(st.sampled_from([*regions, outside] if outside else regions))
        region = draw(st.sets(st.sampled_from(sorted(whole)), min_size=1))
        assume(all(region <= other or region.isdisjoint(other) for other in regions))
        regions.append(region)
    return regions


@given(regions_within_each_other(), st.data())
def test_an_order_is_right_where_painting_keeps_every_region(regions, data):
    order = data.draw(st.lists(st.integers(1, 7), min_size=len(regions), max_size=len(regions)))
    labels = np.arange(8)  # one voxel of each
    result = painted(labels, regions, order)
    kept = all((np.isin(result, list(region)) == np.isin(labels, list(region))).all() for region in regions)
    message = refusal(dataset_json(regions, order))
    if message is None:
        assert kept
    elif kept:  # then later regions hide one of them in any order
        assert "no regions_class_order is right" in message


@given(st.lists(st.sets(st.integers(1, 5), min_size=1), min_size=2, max_size=4), st.data())
def test_the_order_that_is_proposed_keeps_what_is_right_and_paints_each_region_itself(regions, data):
    """Of any regions: the voxel whose label a region paints is painted by this region, last."""
    assume(any(len(region) > 1 for region in regions))
    order = data.draw(st.lists(st.integers(0, 6), min_size=len(regions), max_size=len(regions)))
    labels = np.arange(7)
    last = painted(labels, regions, range(1, len(regions) + 1))  # which region has the last word, by label
    right = [last[value] == number for number, value in enumerate(order, start=1)]
    message = refusal(dataset_json(regions, order))
    if set(last) - {0} != set(range(1, len(regions) + 1)):
        assert "no regions_class_order is right" in message
    elif all(right):
        assert message is None
    else:
        made = proposed(message)
        expected = [
            value if is_right else np.flatnonzero(last == number)[0]
            for number, (value, is_right) in enumerate(zip(order, right, strict=True), start=1)
        ]
        assert made == expected
        assert refusal(dataset_json(regions, made)) is None


@pytest.mark.parametrize("key", EDITIONS)
def test_what_convert_writes_is_right_and_every_other_order_is_not(key, tmp_path):
    write_dataset_json(tmp_path, EDITIONS[key], n_training=1)
    content = read_json(tmp_path / "dataset.json")
    assert refusal(content) is None
    right = content["regions_class_order"]
    for number in range(1, len(right)):
        wrong = [*right[number:], *right[:number]]
        assert proposed(refusal({**content, "regions_class_order": wrong})) == right


def test_the_message_names_regions_and_the_order_that_is_right():
    message = refusal({"labels": PED, "regions_class_order": [1, 2, 3]})
    assert "(whole_tumor is painted 1, enhancing_tumor is painted 3)" in message
    assert proposed(message) == [4, 2, 1]


@pytest.mark.parametrize(
    ("labels", "order", "message"),
    [
        ({**PED, "again": 1}, [4, 2, 1, 1], "every label of enhancing_tumor is also of a region that is painted later"),
        ({**PED, "nothing": []}, [4, 2, 1, 1], "every label of nothing"),
        (PED, [4, 2], r"one label a region, 3 in all; got \[4, 2\]"),
        (PED, "421", "one label a region, 3 in all; got '421'"),
        (PED, [4, [2], 1], r"make it \[4, 2, 1\]"),
        ({**PED, "odd": "x"}, [4, 2, 1, 1], "each label in dataset.json must be a whole number"),
        ({**PED, "odd": [[1]]}, [4, 2, 1, 1], "each label in dataset.json must be a whole number"),
    ],
)
def test_what_can_be_no_order_is_refused(labels, order, message):
    with pytest.raises(InputError, match=message):
        check_class_order({"labels": labels, "regions_class_order": order})


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"labels": PED},
        {"labels": {"background": 0, "ED": 1, "NCR": 2, "ET": 3}, "regions_class_order": [3, 2, 1]},
        {"labels": {**PED, "ignore": 5}, "regions_class_order": [4, 2, 1]},
    ],
    ids=["no object", "no labels", "no order", "plain labels, which nnU-Net does not paint", "a label to ignore"],
)
def test_there_is_nothing_to_refuse(content):
    check_class_order(content)
