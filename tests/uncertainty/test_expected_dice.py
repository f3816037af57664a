"""The Dice to expect: what is learnt from cases with a reference, how it is kept, and what is made of bad files."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.regions import REGIONS, WT
from nnunet_resunet_ds.evaluation.dice import region_dice
from nnunet_resunet_ds.uncertainty.expected_dice import (
    EXPECTED_DICE,
    SIGNS,
    expected_dice_of,
    read_expected_dice,
)
from nnunet_resunet_ds.uncertainty.learn_expected_dice import (
    LEAST_CASES,
    LEAST_EMPTY_CASES,
    KnownCase,
    learn_expected_dice,
)
from nnunet_resunet_ds.uncertainty.region_certainty import RegionCertainty, certainty_of_regions
from postprocessing import PostprocessingConfig, postprocess

TUNED_ON = (("0", "aaaa"), ("1", "bbbb"))
SURE = RegionCertainty(100.0, 90.0, 110.0, 0.1, 0.1, 1.0, 0.95)
NUMBERS = {"intercept": 1, "slopes": dict.fromkeys(SIGNS, 0), "n_cases": 9, "error": 0, "volume_held": 1}
EMPTY = RegionCertainty(0.0, 0.0, 5.0, None, None, 0.3, 0.1)


def learnt(cases, dice, parts=None):
    known = [
        KnownCase(part, {"WT": case}, {"WT": value}, {"WT": 105.0})
        for part, case, value in zip(parts or ["0"] * len(cases), cases, dice, strict=True)
    ]
    return learn_expected_dice(known, TUNED_ON)


def cases_of(soft_dice):
    return [
        replace(SURE, soft_dice=value, least_volume=90.0 + 9 * value, entropy_inside=1 - value) for value in soft_dice
    ]


def test_more_is_expected_of_what_is_surer():
    soft_dice = np.linspace(0.5, 1, 20)
    model = learnt(cases_of(soft_dice), 0.9 * soft_dice)
    low, high = (model({"WT": case})["WT"] for case in cases_of([0.5, 1.0]))
    assert low == pytest.approx(0.45, abs=0.03) and high == pytest.approx(0.9, abs=0.03)
    assert model.regions["WT"].n_cases == 20 and model.regions["WT"].error < 0.03


def test_it_says_how_often_the_volume_lay_between_its_limits():
    cases = [replace(SURE, least_volume=limit) for limit in (100.0, 104.0, 105.0, 106.0, 109.0)] * 2
    assert learnt(cases, [0.9] * 10).regions["WT"].volume_held == 0.6


@given(st.integers(0, 2**32 - 1))
def test_what_is_expected_is_a_dice_and_never_falls_with_certainty(seed):
    """Whatever the cases are, those of noise among them."""
    random = np.random.default_rng(seed)
    numbers = random.random((15, 4))
    cases = [RegionCertainty(1.0, 1 - a / 2, 1.0, b, c, 1.0, d) for a, b, c, d in numbers]
    model = learnt(cases, random.random(15), [str(number % 3) for number in range(15)]).regions["WT"]
    for name, slope in model.slopes.items():
        assert slope * SIGNS[name] >= 0
    assert all(0 <= model(case) <= 1 for case in cases) and 0 <= model.error <= 1


def test_nothing_is_learnt_from_few_cases_and_nothing_said_of_few_empty_ones():
    assert learnt(cases_of(np.linspace(0.5, 1, LEAST_CASES - 1)), np.ones(LEAST_CASES - 1)).regions == {}
    enough = cases_of(np.linspace(0.5, 1, LEAST_CASES))
    for n_empty, expected in ((LEAST_EMPTY_CASES - 1, {}), (LEAST_EMPTY_CASES, {"WT": 1 / LEAST_EMPTY_CASES})):
        dice = [*np.ones(LEAST_CASES), 1.0, *np.zeros(n_empty - 1)]
        assert learnt([*enough, *[EMPTY] * n_empty], dice)({"WT": EMPTY}) == expected


def test_the_error_is_that_on_other_parts():
    """Two parts of opposite truths: each is wrong about the other, and a fit of both would be wrong by half."""
    cases = cases_of(np.full(20, 0.8))
    model = learnt(cases, [1.0] * 10 + [0.0] * 10, ["0"] * 10 + ["1"] * 10)
    assert model.regions["WT"].error == pytest.approx(1)


def test_it_is_kept_with_the_model(tmp_path):
    assert read_expected_dice(tmp_path) is None
    model = learnt(cases_of(np.linspace(0.5, 1, 12)), np.linspace(0.4, 0.9, 12))
    model.write(tmp_path)
    assert read_expected_dice(tmp_path) == model == expected_dice_of(tmp_path, {"0": "aaaa"})


def test_other_weights_are_told_no_dice(tmp_path, caplog):
    learnt(cases_of(np.linspace(0.5, 1, 12)), np.linspace(0.4, 0.9, 12)).write(tmp_path)
    assert expected_dice_of(tmp_path, {"0": "aaaa", "2": "cccc"}) is None
    assert f"{tmp_path / EXPECTED_DICE}: was learnt from other weights" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"regions": {}},
        {"regions": {"WT": {"intercept": 1}}, "tuned_on": {}},
        {"regions": {"WT": 3}, "tuned_on": {}},
        {"regions": {"WT": {**NUMBERS, "slopes": {"x": 1}}}, "tuned_on": {}},
        {"regions": {"WT": {**NUMBERS, "slopes": dict.fromkeys(SIGNS, "1")}}, "tuned_on": {}},
        {"regions": {"WT": {**NUMBERS, "intercept": None}}, "tuned_on": {}},
    ],
)
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / EXPECTED_DICE).write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"{EXPECTED_DICE}: damaged .*tune again: resunet-ds tune"):
        read_expected_dice(tmp_path)


def corrupted_prediction(seed, corruption):
    """A ball, and probabilities of it that a network would give: off and undecided the more it is corrupted."""
    random = np.random.default_rng(seed)
    z, y, x = np.ogrid[:24, :24, :24]
    radius = random.uniform(5, 8)
    depth = radius - np.sqrt((z - 12) ** 2 + (y - 12) ** 2 + (x - 12) ** 2)
    reference = (depth > 0).astype(np.uint8)
    noise = gaussian_filter(random.standard_normal(depth.shape), 2)
    seen = depth + corruption * random.uniform(3, 6) * noise / noise.std()
    probability = 1 / (1 + np.exp(-seen / (0.5 + 3 * corruption)))
    probabilities = np.stack([probability, 0 * probability, 0 * probability]).astype(np.float32)
    labels = postprocess(probabilities, PostprocessingConfig.preset("none"))
    certainty = certainty_of_regions(labels, probabilities, REGIONS, 1.0)
    return KnownCase(str(seed % 2), certainty, region_dice(reference, labels), dict.fromkeys(certainty, 0.0))


def test_corruption_that_lowers_dice_lowers_what_is_expected():
    """Learnt from cases with little corruption alone, it tells those with much apart: Dice below 0.7."""
    known = [corrupted_prediction(seed, corruption=0.2 * (seed % 5) / 5) for seed in range(20)]
    model = learn_expected_dice(known, TUNED_ON)
    others = [corrupted_prediction(100 + seed, corruption=(seed % 6) / 5) for seed in range(60)]
    reached = np.array([case.dice[WT.name] for case in others])
    expected = np.array([model(case.certainty)[WT.name] for case in others])
    assert 10 < (reached < 0.7).sum() < 50
    assert roc_auc_score(reached < 0.7, -expected) >= 0.9
