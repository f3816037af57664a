import by_the_book
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from nnunet_resunet_ds.evaluation.lesions import ReferenceLesions, dilate, smallest_neighbour
from nnunet_resunet_ds.evaluation.protocols import RegionRule

sparse = hnp.arrays(np.bool_, (9, 8, 12), elements=st.sampled_from([False] * 12 + [True]))


@settings(max_examples=60)
@given(sparse, sparse, st.integers(0, 2), st.integers(0, 3))
def test_one_reference_scores_many_predictions_as_it_would_each(reference, prediction, dilations, min_size):
    rule = RegionRule((1,), dilations, min_size)
    # the volume ends where dilation would go on: both stop there
    padded = [np.pad(mask, 3) for mask in (reference, prediction)]
    lesions = by_the_book.merged(padded[0], dilations)[0], ndimage.label(padded[1], by_the_book.CORNERS)[0]
    expected = by_the_book.lesion_metrics(*lesions, rule, (1, 1, 1), True, {})["lesion_dice"]
    scorer = ReferenceLesions(reference, 1.0, rule)
    assert scorer.dice(prediction) == pytest.approx(expected)
    assert scorer.dice(reference) == pytest.approx(1)


def test_empty_regions():
    none, some = np.zeros((5, 5, 5), bool), np.zeros((5, 5, 5), bool)
    some[2] = True
    assert ReferenceLesions(none, 1).dice(none) == 1
    assert ReferenceLesions(none, 1).dice(some) == 0
    assert ReferenceLesions(some, 1).dice(none) == 1  # 25 mm³ are too few to count
    assert ReferenceLesions(some, 3).dice(none) == 0
    assert ReferenceLesions(some, 3).dice(some) == 1


@given(sparse, st.integers(0, 3))
def test_dilation_is_that_of_scipy(mask, iterations):
    assert np.array_equal(dilate(mask, iterations), by_the_book.dilate(mask, iterations))


@given(hnp.arrays(np.int32, (6, 5, 7), elements=st.integers(0, 4)))
def test_the_smallest_neighbour_is_that_of_a_general_filter(labels):
    none = np.iinfo(np.int32).max
    found = ndimage.minimum_filter(
        np.where(labels, labels, none), footprint=by_the_book.NEIGHBOURS, mode="constant", cval=none
    )
    assert np.array_equal(smallest_neighbour(labels), np.where(found == none, 0, found))
