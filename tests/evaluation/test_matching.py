from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from nnunet_resunet_ds.evaluation.detection import THRESHOLDS, f1, f1_area
from nnunet_resunet_ds.evaluation.lesions import find_lesions
from nnunet_resunet_ds.evaluation.matching import LesionPairs, best_pairs, overlapping_pairs

sparse = hnp.arrays(np.bool_, (6, 5, 7), elements=st.sampled_from([False] * 5 + [True]))
dice_tables = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 4), st.integers(1, 4)), elements=st.sampled_from([0, 0.1, 0.25, 0.4, 0.9])
)


def pairs_of(table):
    first, second = np.nonzero(table)
    return LesionPairs(first + 1, second + 1, table[first, second])


def largest_sum(table):
    """By trying every way to give each reference lesion another prediction, or none."""
    n, m = table.shape
    padded = np.hstack([table, np.zeros((n, n))])
    return max(
        sum(padded[row, column] for row, column in enumerate(columns)) for columns in permutations(range(n + m), n)
    )


@settings(max_examples=60)
@given(dice_tables)
def test_the_sum_of_dice_is_the_largest_of_all_one_to_one_matchings(table):
    chosen = best_pairs(pairs_of(table))
    assert chosen.dice.sum() == pytest.approx(largest_sum(table))
    assert len(set(chosen.reference)) == len(set(chosen.prediction)) == len(chosen)
    assert chosen.dice.tolist() == [
        table[a - 1, b - 1] for a, b in zip(chosen.reference, chosen.prediction, strict=True)
    ]


def test_the_best_matching_is_not_that_of_each_lesion_alone():
    table = np.array([[0.6, 0.5], [0.5, 0.0]])
    chosen = best_pairs(pairs_of(table))
    assert sorted(zip(chosen.reference.tolist(), chosen.prediction.tolist(), strict=True)) == [(1, 2), (2, 1)]
    assert best_pairs(pairs_of(table), 0.55).dice.tolist() == [0.6]


@given(sparse, sparse)
def test_pairs_are_all_lesions_that_have_voxels_in_common(reference, prediction):
    lesions = [find_lesions(mask, 0) for mask in (reference, prediction)]
    (first, n), (second, m) = (ndimage.label(mask, np.ones((3, 3, 3))) for mask in (reference, prediction))
    expected = [
        2 * (a & b).sum() / (a.sum() + b.sum())
        for a in (first == number for number in range(1, n + 1))
        for b in (second == number for number in range(1, m + 1))
        if (a & b).any()
    ]
    assert sorted(overlapping_pairs(*lesions).dice) == pytest.approx(sorted(expected))


@pytest.mark.parametrize(("counts", "expected"), [((3, 1, 0), 6 / 7), ((0, 2, 0), 0), ((0, 0, 1), 0)])
def test_f1(counts, expected):
    assert f1(*counts) == pytest.approx(expected)
    assert np.isnan(f1(0, 0, 0))


def test_the_area_under_f1_is_that_of_its_steps():
    """One pair of Dice 0.45, one lesion each: F1 is 1 up to a threshold of 0.4 and 0 from 0.5 on, a line between."""
    pair = pairs_of(np.array([[0.45]]))
    assert f1_area(pair, 1, 1) == pytest.approx(0.4 + 0.1 / 2)
    assert f1_area(pairs_of(np.array([[1.0]])), 1, 1) == pytest.approx(1)
    assert f1_area(pair, 1, 2) == pytest.approx((0.4 + 0.1 / 2) * 2 / 3)
    assert pytest.approx(np.arange(0.1, 1.05, 0.1)) == THRESHOLDS


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 3, 3), (5, 1, 7)])
def test_single_voxels_that_fill_a_thin_mask_are_lesions(shape):
    """Every other voxel on each axis: as many lesions as there can be."""
    mask = (np.indices(shape) % 2 == 0).all(axis=0)
    assert find_lesions(mask, 0).sizes.tolist() == [0, *[1] * mask.sum()]
