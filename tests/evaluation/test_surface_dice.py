import by_the_book
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from nnunet_resunet_ds.evaluation.pooled_hausdorff import PooledHausdorffDistance
from nnunet_resunet_ds.evaluation.surface_dice import SurfaceDice, offsets_within
from nnunet_resunet_ds.evaluation.voxel_surface import voxel_surface

SPACINGS = [(1.0, 1.0, 1.0), (0.5, 1.2, 3.0), (0.9, 0.9, 1.5)]
masks = hnp.arrays(np.bool_, (7, 6, 8), elements=st.sampled_from([False] * 3 + [True])).filter(np.any)


@given(hnp.arrays(np.bool_, (5, 6, 4)))
def test_the_surface_is_the_mask_without_its_erosion(mask):
    cross = ndimage.generate_binary_structure(3, 1)
    assert np.array_equal(voxel_surface(mask), mask & ~ndimage.binary_erosion(mask, cross))


@settings(max_examples=60)
@given(masks, masks, st.sampled_from(SPACINGS), st.sampled_from([0.5, 0.9, 1.0, 2.0]))
def test_it_is_what_distance_transforms_of_the_whole_image_give(reference, prediction, spacing, tolerance):
    expected = by_the_book.nsd(reference, prediction, spacing, tolerance)
    assert SurfaceDice(spacing, tolerance)(reference, prediction) == pytest.approx(expected)


@settings(max_examples=60)
@given(masks, masks, st.sampled_from(SPACINGS))
def test_pooled_hd95_is_what_distance_transforms_of_the_whole_image_give(reference, prediction, spacing):
    expected = by_the_book.pooled_hd95(reference, prediction, spacing)
    assert PooledHausdorffDistance(spacing)(reference, prediction) == pytest.approx(expected)


@pytest.mark.parametrize(("shift", "n_near"), [(0, 152), (1, 152), (2, 112)])
def test_a_shifted_cube_agrees_where_its_surface_still_does(shift, n_near):
    """A cube of 6³ has 152 surface voxels: two faces of 36, four rings of 20 between.

    Two voxels on, nothing is near the first face, all of the rings is, and of the last face all but the 2 × 2 within.
    """
    cube = np.zeros((12, 8, 8), bool)
    cube[2:8, 1:7, 1:7] = True
    assert SurfaceDice((1, 1, 1), 1.0)(cube, np.roll(cube, shift, 0)) == pytest.approx(n_near / 152)


def test_both_surfaces_weigh_the_same_whatever_their_size():
    """One voxel within a cube's face, and none else near: all of the one agrees, and 1 of 56 of the other."""
    cube, voxel = np.zeros((2, 6, 6, 6), bool)
    cube[1:5, 1:5, 1:5] = voxel[1, 2, 2] = True
    assert voxel_surface(cube).sum() == 56
    assert SurfaceDice((1, 1, 1), 0.5)(cube, voxel) == pytest.approx((1 / 56 + 1) / 2)


def test_pooled_hd95_takes_both_directions_together():
    """Of 19 and 20 distances one is 3 and all others are 0; alone, the direction of 20 would give another number."""
    reference, prediction = np.zeros((2, 40, 3, 3), bool)
    reference[:19, 1, 1] = prediction[:19, 1, 1] = prediction[21, 1, 1] = True
    assert PooledHausdorffDistance((1, 1, 1))(reference, prediction) == np.percentile([0] * 38 + [3], 95)


@pytest.mark.parametrize(("spacing", "tolerance", "n"), [((1, 1, 1), 0.5, 1), ((1, 1, 1), 1.0, 7), ((1, 1, 2), 1.0, 5)])
def test_steps_within_a_tolerance(spacing, tolerance, n):
    assert len(list(offsets_within(spacing, tolerance))) == n


def test_a_distance_of_exactly_the_tolerance_is_within_it_whatever_the_header_rounds():
    spacing = np.float32([0.7, 0.7, 1.1]).tolist()
    assert len(list(offsets_within(spacing, 0.7))) == len(list(offsets_within((0.7, 0.7, 1.1), 0.7))) == 5
