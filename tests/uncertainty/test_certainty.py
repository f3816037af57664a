"""Numbers of how sure a prediction is, against SciPy's entropy, voxels counted one by one, and all pairs of folds."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_cdt
from scipy.stats import entropy as entropy_of_distribution

from nnunet_resunet_ds.base.regions import ET, REGIONS, TC, WT
from nnunet_resunet_ds.uncertainty.entropy import DECIDED, entropy
from nnunet_resunet_ds.uncertainty.region_certainty import (
    AROUND,
    RegionCertainty,
    certainty_of_regions,
    fold_disagreement,
)
from postprocessing import PostprocessingConfig, postprocess

SEEDS = st.integers(0, 2**32 - 1)


def made_up(seed, shape=(9, 10, 11)):
    """Probabilities (3, Z, Y, X), most of them decided, and what is painted by them."""
    random = np.random.default_rng(seed)
    probabilities = random.beta(0.2, 0.4, (3, *shape)).astype(np.float32)
    return postprocess(probabilities, PostprocessingConfig.preset("none")), probabilities


def test_entropy_is_that_of_a_coin():
    p = np.linspace(0, 1, 1001)
    expected = entropy_of_distribution(np.stack([p, 1 - p]), base=2)
    found = entropy(p)
    undecided = (p > DECIDED) & (p < 1 - DECIDED)
    np.testing.assert_allclose(found[undecided], expected[undecided], atol=1e-6)
    assert not found[~undecided].any() and expected[~undecided].max() < 0.0115
    assert found.max() == found[500] == 1 and found.dtype == np.float32


@given(SEEDS)
def test_numbers_are_those_of_voxels_counted_one_by_one(seed):
    labels, probabilities = made_up(seed)
    found = certainty_of_regions(labels, probabilities, REGIONS, voxel_volume=0.5)
    assert list(found) == ["WT", "TC", "ET"]
    for region, p in zip(REGIONS, probabilities, strict=True):
        mask, numbers = region.mask(labels), found[region.name]
        assert numbers.volume == mask.sum() * 0.5
        assert numbers.least_volume == min((p >= 0.75).sum(), mask.sum()) * 0.5
        assert numbers.largest_volume == max((p >= 0.25).sum(), mask.sum()) * 0.5
        assert numbers.peak == pytest.approx(p.max())
        if mask.any():
            uncertain = entropy(p)
            distance = distance_transform_cdt(~mask, "taxicab")
            around = uncertain[(distance > 0) & (distance <= AROUND)]
            assert numbers.entropy_inside == pytest.approx(uncertain[mask].mean(), abs=1e-6)
            assert numbers.entropy_around == pytest.approx(around.mean() if around.size else None, abs=1e-6)
            assert numbers.soft_dice == pytest.approx(2 * p[mask].sum() / (mask.sum() + p.sum()), abs=1e-5)


def test_what_is_far_from_any_tumour_does_not_count():
    labels, probabilities = (
        np.pad(volume, [(0, 0)] * (volume.ndim - 3) + [(AROUND, AROUND)] * 3) for volume in made_up(1)
    )
    far = ((20, 5), (7, 9), (0, 30))
    padded = np.pad(probabilities, ((0, 0), *far), constant_values=0.19)
    within = certainty_of_regions(labels, probabilities, REGIONS, 1.0)
    assert certainty_of_regions(np.pad(labels, far), padded, REGIONS, 1.0) == within


def test_a_sure_prediction_has_no_entropy_and_a_soft_dice_of_one():
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2:6, 2:6, 2:6] = 3
    probabilities = np.stack([region.mask(labels) for region in (WT, TC, ET)]).astype(np.float32)
    for numbers in certainty_of_regions(labels, probabilities, REGIONS, 1.0).values():
        assert (numbers.soft_dice, numbers.entropy_inside, numbers.entropy_around) == (1, 0, 0)
        assert numbers.least_volume == numbers.volume == numbers.largest_volume == 64 and numbers.stability == 1


def test_an_empty_region_has_no_entropy_and_says_how_near_it_was():
    probabilities = np.full((3, 4, 4, 4), 0.1, np.float32)
    probabilities[2, 1, 1, 1] = 0.4
    numbers = certainty_of_regions(np.zeros((4, 4, 4), np.uint8), probabilities, REGIONS, 1.0)["ET"]
    assert (numbers.volume, numbers.entropy_inside, numbers.entropy_around) == (0, None, None)
    assert numbers.peak == pytest.approx(0.4) and numbers.largest_volume == 1 and numbers.stability == 0
    assert set(numbers.to_mapping()) == {"volume", "least_volume", "largest_volume", "peak", "soft_dice"}


@given(SEEDS, st.integers(2, 5))
def test_folds_disagree_by_one_minus_their_dice(seed, n):
    folds = np.random.default_rng(seed).random((n, 4, 5, 6))
    products = np.mean([(a * b).sum() for a, b in combinations(folds, 2)])
    expected = 1 - products / np.mean([(p**2).sum() for p in folds])
    assert fold_disagreement(folds.mean(0), folds.var(0), n) == pytest.approx(expected)


def test_folds_of_masks_disagree_by_one_minus_the_dice_of_masks():
    one, other = np.zeros((2, 6, 6, 6))
    one[:3], other[1:4] = 1, 1
    assert fold_disagreement((one + other) / 2, np.var([one, other], axis=0), 2) == pytest.approx(1 - 2 / 3)
    assert fold_disagreement(one, np.zeros_like(one), 2) == 0 and fold_disagreement(0 * one, 0 * one, 2) == 0


def test_numbers_in_json_are_short_and_have_the_expected_dice():
    numbers = RegionCertainty(10.0, 5.0, 20.0, 0.1234567, None, 1.0, 0.8)
    assert numbers.stability == pytest.approx(0.4)
    assert numbers.to_mapping(0.5)["expected_dice"] == 0.5
    assert numbers.to_mapping()["entropy_inside"] == 0.12346 and "entropy_around" not in numbers.to_mapping()
