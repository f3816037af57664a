"""Votes on masks and label maps: against closed forms and the papers' algorithms written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnunet_resunet_ds.base.regions import REGIONS, REGIONS_WITH_CC, REGIONS_WITH_RC
from nnunet_resunet_ds.ensembles.fusion import METHODS, fused_labels, majority, simple, staple

SHAPE = (6, 5, 7)
masks = st.lists(hnp.arrays(bool, SHAPE), min_size=2, max_size=5)
label_maps = st.lists(hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 0, 1, 2, 3, 4])), min_size=2, max_size=5)


@given(masks, st.data())
def test_majority_counts_weights_voxel_by_voxel(found, data):
    weights = data.draw(st.lists(st.integers(0, 4), min_size=len(found), max_size=len(found)).filter(any))
    expected = np.zeros(SHAPE, bool)
    for place in np.ndindex(SHAPE):
        expected[place] = 2 * sum(w for m, w in zip(found, weights, strict=True) if m[place]) > sum(weights)
    np.testing.assert_array_equal(majority(found, weights), expected)


def test_half_the_weight_is_no_majority_to_rounding():
    found = [np.array([[[True]]])] * 2 + [np.array([[[False]]])]
    assert not majority(found, [0.1, 0.2, 0.3]).any()  # 0.1 + 0.2 is above 0.3 in floating point
    assert majority(found, [0.1, 0.21, 0.3]).all()


def staple_written_out(found):
    """Warfield 2004, binary, with a prior that is the mean of all masks, and no spatial term."""
    decisions = np.stack([mask.ravel() for mask in found]).astype(float)
    p = q = np.full(len(found), 0.99999)
    prior = decisions.mean()
    for _ in range(100):
        inside = prior * np.prod(np.where(decisions == 1, p[:, None], 1 - p[:, None]), axis=0)
        outside = (1 - prior) * np.prod(np.where(decisions == 1, 1 - q[:, None], q[:, None]), axis=0)
        w = inside / (inside + outside)
        p, q = decisions @ w / w.sum(), (1 - decisions) @ (1 - w) / (1 - w).sum()
    return (w > 0.5).reshape(found[0].shape)


@pytest.mark.parametrize("seed", range(8))
def test_staple_is_what_its_paper_says(seed):
    """Noisy copies of a ball, good and bad; the box of all of them is the volume."""
    random = np.random.default_rng(seed)
    z, y, x = np.indices((12, 12, 12)) - 5.5
    truth = z**2 + y**2 + x**2 < 20
    found = [truth ^ (random.random(truth.shape) < share) for share in (0.02, 0.05, 0.1, 0.3)]
    found[0][0, 0, 0] = found[0][-1, -1, -1] = True
    np.testing.assert_array_equal(staple(found, [1] * 4), staple_written_out(found))
    assert (staple(found, [1] * 4) != truth).mean() < 0.03


def test_staple_of_nothing_and_of_equal_masks():
    nothing, something = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    assert not staple([nothing, nothing], [1, 1]).any()
    np.testing.assert_array_equal(staple([something, something], [1, 1]), something)


def test_simple_leaves_out_what_is_far_from_the_others():
    """Two mark a cube, two another place, and one all: by count both places win; the one that marks all is left out."""
    cube, far, everything = np.zeros((8, 8, 8), bool), np.zeros((8, 8, 8), bool), np.ones((8, 8, 8), bool)
    cube[1:5, 1:5, 1:5] = True
    far[5:, 5:, 5:] = True
    found = [cube, cube, far, far, everything]
    np.testing.assert_array_equal(majority(found, [1] * 5), cube | far)
    np.testing.assert_array_equal(simple(found, [1] * 5), cube)
    np.testing.assert_array_equal(simple(found, [1, 1, 3, 3, 1]), far)  # weights count in every round


@settings(max_examples=60)
@given(masks)
def test_simple_is_a_majority_of_some_of_the_masks(found):
    joint = simple(found, [1] * len(found))
    assert not (joint & ~np.logical_or.reduce(found)).any()
    assert (joint | ~np.logical_and.reduce(found)).all()


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=25)
@given(found=label_maps, regions=st.sampled_from([REGIONS, REGIONS_WITH_RC, REGIONS_WITH_CC]))
def test_labels_stay_labels_and_unanimous_voxels_stay(method, found, regions):
    if regions is REGIONS:
        found = [np.where(labels == 4, 0, labels) for labels in found]
    joint = fused_labels(found, regions, METHODS[method], [1] * len(found))
    assert set(np.unique(joint)) <= {0, 1, 2, 3, 4}
    alike = np.all([labels == found[0] for labels in found], axis=0)
    if method == "majority":
        np.testing.assert_array_equal(joint[alike], found[0][alike])


@settings(max_examples=40)
@given(label_maps)
def test_a_majority_of_labels_is_nested_by_counting(found):
    """A voxel is in WT, TC or ET where more than half of the label maps put it there, so no method has to nest it."""
    found = [np.where(labels == 4, 0, labels) for labels in found]
    joint = fused_labels(found, REGIONS, majority, [1] * len(found))
    for region in REGIONS:
        votes = sum(region.mask(labels).astype(int) for labels in found)
        np.testing.assert_array_equal(region.mask(joint), 2 * votes > len(found))


def test_a_cyst_counts_as_part_of_the_tumour_and_a_cavity_does_not():
    """One says cyst (4), one necrosis (2), one nothing: two of three see a tumour core, where 4 is part of it."""
    found = [np.full((1, 1, 1), value, np.uint8) for value in (4, 2, 0)]
    assert fused_labels(found, REGIONS_WITH_CC, majority, [1] * 3).item() == 2
    assert fused_labels(found, REGIONS_WITH_RC, majority, [1] * 3).item() == 0


@given(label_maps, st.data())
def test_who_does_not_know_a_region_has_no_say_in_it(found, data):
    """Its votes on it are left out, as if there were fewer members."""
    known = data.draw(
        st.lists(st.sampled_from([3, 4]), min_size=len(found), max_size=len(found)).filter(lambda n: 4 in n)
    )
    weights = data.draw(st.lists(st.integers(1, 4), min_size=len(found), max_size=len(found)))
    without_rc = [
        np.where(labels == 4, 0, labels) if n == 3 else labels for labels, n in zip(found, known, strict=True)
    ]
    joint = fused_labels(without_rc, REGIONS_WITH_RC, majority, weights, known)
    cavity = [(labels == 4, weight) for labels, weight, n in zip(found, weights, known, strict=True) if n == 4]
    masks, of_masks = zip(*cavity, strict=True)
    np.testing.assert_array_equal(joint == 4, majority(masks, of_masks))
    tumour = fused_labels([np.where(labels == 4, 0, labels) for labels in found], REGIONS, majority, weights)
    np.testing.assert_array_equal(joint[joint != 4], tumour[joint != 4])
