import by_the_book
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnunet_resunet_ds.evaluation.hausdorff import HausdorffDistance, pattern_areas, percentile, surface_of

SPACINGS = [(1.0, 1.0, 1.0), (0.5, 1.2, 3.0), (2.0, 2.0, 1.0)]


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_areas_are_those_of_the_published_table(spacing):
    assert pattern_areas(spacing) == pytest.approx(by_the_book.pattern_areas(spacing), rel=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_surface_of_a_box_is_what_it_is_but_for_its_edges(spacing):
    box = np.ones((40, 30, 20), bool)
    size = np.array(box.shape) * spacing
    exact = 2 * (size[0] * size[1] + size[1] * size[2] + size[0] * size[2])
    surface = surface_of(box, pattern_areas(spacing))
    assert surface.areas.sum() == pytest.approx(exact, rel=0.05)
    assert len(surface.points.places) == 41 * 31 * 21 - 39 * 29 * 19  # on the outside, and none within


masks = hnp.arrays(np.bool_, (7, 6, 8), elements=st.sampled_from([False] * 3 + [True])).filter(np.any)


@settings(max_examples=60)
@given(masks, masks, st.sampled_from(SPACINGS))
def test_it_is_what_distance_transforms_of_the_whole_image_give(reference, prediction, spacing):
    exact = HausdorffDistance(spacing)(reference, prediction)
    around = [by_the_book.hd95(reference, prediction, spacing, percent) for percent in (94.9999, 95.0001)]
    assert min(around) - 1e-9 <= exact <= max(around) + 1e-9  # at 95 % itself, rounding may decide


@given(masks)
def test_it_is_zero_for_equal_surfaces(mask):
    assert HausdorffDistance((1, 1, 1))(mask, mask) == 0


@pytest.mark.parametrize("shift", [1, 4])
def test_it_is_not_zero_for_others(shift):
    mask = np.zeros((20, 9, 9), bool)
    mask[3:9, 2:7, 2:7] = True
    assert HausdorffDistance((1, 1, 1))(mask, np.roll(mask, shift, 0)) == shift


def test_the_percentile_goes_by_area_and_not_by_number():
    distances = np.array([3.0, 1.0, 2.0])
    assert percentile(distances, np.array([0.04, 0.5, 0.46])) == 2
    assert percentile(distances, np.array([0.06, 0.5, 0.44])) == 3
    assert percentile(np.array([7.0]), np.array([1.0])) == 7
