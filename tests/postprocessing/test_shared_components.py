"""Steps of one case share what they know of its regions: the result is that of each step alone, with less work."""

from dataclasses import replace

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from nnunet_resunet_ds.base.regions import ET, TC, WT
from postprocessing import PostprocessingConfig
from postprocessing.case import postprocess_explained
from postprocessing.component_table import Components
from postprocessing.components import ComponentFilter, Hysteresis, LargestComponents, MeanFilter, PeakFilter
from postprocessing.morphology import Closing, FillHoles, Opening
from postprocessing.shifts import dilated, eroded
from postprocessing.steps import USUAL_STEPS
from postprocessing.thresholds import apply_thresholds
from postprocessing.total_rule import TotalRule
from postprocessing.voxels import Box, numbered

SHAPE = (9, 9, 12)
REGIONS = {"WT": WT, "TC": TC, "ET": ET}
STRUCTURES = {6: 1, 18: 2, 26: 3}
AMOUNTS = {
    "hysteresis": {"low": (0.2, 0.4), "high": (0.0, 0.5, 0.9)},
    "opening": {"radius": (0, 1, 2)},
    "closing": {"radius": (0, 1, 2)},
    "holes": {"voxels": (0, 1, 5)},
    "components": {"voxels": (0, 3, 20), "probability": (0.6, 1.0)},
    "mean": {"probability": (0.0, 0.5, 0.6)},
    "peak": {"probability": (0.0, 0.7, 0.9)},
    "largest": {"count": (0, 1, 3)},
    "total": {"voxels": (0, 40, 400), "probability": (0.6, 1.0)},
}
"""Numbers that each kind of step is tried with."""

LEVELS = np.float32([0, 0.2, 0.4, 0.5, 0.7, 0.9])
connectivities = st.sampled_from([6, 18, 26])
masks = hnp.arrays(np.bool_, SHAPE, elements=st.sampled_from([False, False, True]))


@st.composite
def values(draw):
    """Probabilities of blocks, apart or joined, that an opening leaves a part of, and single voxels that differ."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    blocks = random.choice(LEVELS, (4, 3, 3, 4), p=[0.6, 0.08, 0.08, 0.08, 0.08, 0.08])
    blocks[1:] = np.where(random.random((3, 3, 3, 4)) < 0.7, blocks[0], blocks[1:])
    values = blocks.repeat(3, axis=1).repeat(3, axis=2).repeat(3, axis=3)
    return np.where(random.random(values.shape) < 0.03, random.choice(LEVELS, values.shape), values)


@st.composite
def some_steps(draw):
    """Some of all steps in any order, with random numbers."""
    chosen = draw(st.permutations(USUAL_STEPS))[: draw(st.integers(1, len(USUAL_STEPS)))]
    return tuple(
        replace(step, **{name: draw(st.sampled_from(amounts)) for name, amounts in AMOUNTS[step.kind].items()})
        for step in chosen
    )


def one_by_one(probabilities, config):
    """Each step on labels alone, and what changed, counted by scipy."""
    labels, changes = apply_thresholds(probabilities, config), []
    structure = ndimage.generate_binary_structure(3, STRUCTURES[config.connectivity])
    for step in (step for step in config.steps if step.is_on):
        after = step.apply(labels, probabilities, config.connectivity)
        changed = after != labels
        inside = probabilities[list(REGIONS).index(step.region)][changed]
        mean = float(inside.mean(dtype=np.float64)) if changed.any() else None
        changes.append((step.name, changed.sum(), ndimage.label(changed, structure)[1], mean))
        labels = after
    return labels, changes


@settings(max_examples=150)
@given(values(), some_steps(), connectivities)
def test_steps_that_share_do_what_each_does_alone(probabilities, steps, connectivity):
    config = PostprocessingConfig(steps=steps, connectivity=connectivity)
    labels, changes = postprocess_explained(probabilities, config)
    expected, expected_changes = one_by_one(probabilities, config)
    np.testing.assert_array_equal(labels, expected)
    said = [(change.step, change.voxels, change.components, change.mean_probability) for change in changes]
    assert said == expected_changes


# ---- how much is done: labellings are counted ----


@pytest.fixture
def labellings(monkeypatch):
    """The number of voxels of each box in which components were searched."""
    boxes = []
    search = cc3d.connected_components

    def counted(mask, **options):
        boxes.append(mask.size)
        return search(mask, **options)

    monkeypatch.setattr(cc3d, "connected_components", counted)
    return boxes


def tumour_with_specks():
    """A tumour of 16³ voxels in a large image, and specks of four sizes and probabilities; none is lost to another."""
    probabilities = np.zeros((3, 60, 60, 60), np.float32)
    for channel, inset in enumerate((0, 2, 4)):
        inner = slice(20 + inset, 36 - inset)
        probabilities[channel, inner, inner, inner] = 0.95
    for x, (length, height) in enumerate([(1, 0.95), (2, 0.55), (3, 0.65), (4, 0.75)]):
        probabilities[:, 22, 22, 40 + 5 * x : 40 + 5 * x + length] = height
    return probabilities


FILTERS = (
    *(ComponentFilter(region, 2) for region in REGIONS),
    *(MeanFilter(region, 0.6) for region in REGIONS),
    *(PeakFilter(region, 0.7) for region in REGIONS),
    *(LargestComponents(region, 1) for region in REGIONS),
    *(TotalRule(region, 10) for region in REGIONS),
)


def test_filters_in_a_row_search_the_components_of_a_region_once(labellings):
    labels, changes = postprocess_explained(tumour_with_specks(), PostprocessingConfig(steps=FILTERS))
    assert [change.voxels for change in changes] == [1, 0, 0, 2, 0, 0, 3, 0, 0, 4, 0, 0, 0, 0, 0]  # each takes a speck
    assert (labels > 0).sum() == 16**3
    assert len(labellings) == 3


def test_inner_regions_first_are_searched_once_each_as_well(labellings):
    """ET loses components by itself, then with TC, then with WT."""
    steps = (ComponentFilter("ET", 2), ComponentFilter("TC", 3), ComponentFilter("WT", 4), *FILTERS[3:])
    _, changes = postprocess_explained(tumour_with_specks(), PostprocessingConfig(steps=steps))
    assert [change.voxels for change in changes][:4] == [1, 3, 6, 0]
    assert len(labellings) == 3


def test_a_step_that_changes_nothing_costs_no_search(labellings):
    between = (Opening("WT", 1), Closing("TC", 1), Opening("ET", 1))
    steps = (ComponentFilter("WT", 5), ComponentFilter("TC", 5), ComponentFilter("ET", 5), *between, *FILTERS[3:])
    _, changes = postprocess_explained(tumour_with_specks(), PostprocessingConfig(steps=steps))
    corners = [change.voxels for change in changes][3:6]
    assert corners[1] == 0 < corners[0] and corners[2] > 0  # an opening takes the corners of a cube
    assert len(labellings) == 3 + 2 * 2  # a search of what each opening took, and one of what it left


def test_hysteresis_leaves_its_components_for_the_filters(labellings):
    steps = (*(Hysteresis(region, 0.3, 0.7) for region in REGIONS), *FILTERS)
    postprocess_explained(tumour_with_specks(), PostprocessingConfig(steps=steps))
    assert len(labellings) == 3 + 1  # and what that of WT took; the others took nothing


def test_boxes_are_those_of_the_region(labellings):
    probabilities = tumour_with_specks()
    probabilities[0, 0, 0, 0] = probabilities[0, -1, -1, -1] = 0.95
    steps = (FillHoles("ET", 5), ComponentFilter("ET", 1), ComponentFilter("WT", 1))
    postprocess_explained(probabilities, PostprocessingConfig(steps=steps))
    of_holes, of_et, of_wt = labellings
    assert of_wt == 62**3 and of_et == of_holes == 12 * 12 * 37


# ---- the parts ----


@given(masks, connectivities, st.data())
def test_components_without_some_are_those_found_again(mask, connectivity, data):
    voxels = np.flatnonzero(mask)
    probability = np.linspace(0, 1, mask.size, dtype=np.float32)
    found = Components.of(voxels, SHAPE, probability, connectivity)
    removed = data.draw(hnp.arrays(np.bool_, found.count))
    known = data.draw(st.sets(st.sampled_from(["sizes", "means", "peaks"])))
    taken = {name: getattr(found, name) for name in known}
    rest = found.without(removed)
    again = Components.of(voxels[~removed[found.numbers]], SHAPE, probability, connectivity)
    assert rest.count == again.count
    for name in ("voxels", "values"):
        np.testing.assert_array_equal(getattr(rest, name), getattr(again, name))
    order = rest.numbers[np.unique(again.numbers, return_index=True)[1]]
    np.testing.assert_array_equal(order[again.numbers], rest.numbers)
    for name in ("sizes", "means", "peaks"):
        np.testing.assert_array_equal(getattr(rest, name)[order], getattr(again, name))
        if name in taken:
            np.testing.assert_array_equal(getattr(rest, name), taken[name][~removed])


@given(masks, connectivities)
def test_voxels_are_numbered_as_scipy_numbers_them(mask, connectivity):
    numbers, count = numbered(np.flatnonzero(mask), SHAPE, connectivity)
    expected, n = ndimage.label(mask, ndimage.generate_binary_structure(3, STRUCTURES[connectivity]))
    pairs = set(zip(numbers.tolist(), expected[mask].tolist(), strict=True))
    assert count == n == len(pairs) == len({number for number, _ in pairs})


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 3, 5), (3, 3, 3), (5, 1, 7), (1, 8, 8)])
@pytest.mark.parametrize("connectivity", [6, 18, 26])
def test_single_voxels_in_a_thin_image_are_numbered(shape, connectivity):
    """Every other voxel on each axis: as many components as there can be."""
    mask = (np.indices(shape) % 2 == 0).all(axis=0)
    numbers, count = numbered(np.flatnonzero(mask), shape, connectivity)
    assert count == mask.sum() == len(set(numbers.tolist()))


@given(masks.filter(np.any), st.integers(0, 3))
def test_a_box_holds_its_voxels_and_no_more(mask, margin):
    voxels = np.flatnonzero(mask)
    box = Box.around(voxels, SHAPE, margin)
    cut = ndimage.find_objects(mask.astype(int))[0]
    np.testing.assert_array_equal(box.mask(box.places(voxels)), np.pad(mask[cut], margin))
    np.testing.assert_array_equal(box.voxels(box.places(voxels)), voxels)


@given(masks, st.integers(0, 3))
def test_balls_along_faces_are_those_of_scipy(mask, radius):
    wide = np.pad(mask, radius + 1)
    faces = ndimage.generate_binary_structure(3, 1)
    if radius:
        expected = [function(wide, faces, radius) for function in (ndimage.binary_erosion, ndimage.binary_dilation)]
    else:
        expected = [wide, wide]
    np.testing.assert_array_equal(eroded(wide, radius), expected[0])
    np.testing.assert_array_equal(dilated(wide, radius), expected[1])
