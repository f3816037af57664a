"""The search: which settings it asks for, and which it takes."""

from dataclasses import replace

import numpy as np
import pytest

from nnunet_resunet_ds.tuning.grid import GRID, ladder, names_of, sweep
from nnunet_resunet_ds.tuning.search import search
from postprocessing import PostprocessingConfig

PAPER = PostprocessingConfig.paper()
GLIOMA = {"labels": {"background": 0, "WT": [1, 2, 3], "TC": [2, 3], "ET": 3}, "regions_class_order": [1, 2, 3]}


def distance_to(target):
    """A score with one optimum, each number for itself."""
    return lambda configs: np.array(
        [-sum(abs(config.value(name) - value) for name, value in target.items()) for config in configs]
    )


def test_the_search_finds_the_optimum_of_independent_numbers():
    target = {"wt": 0.6, "tc": 0.25, "et_component_voxels": 128, "et_total_probability": 0.7, "wt_component_voxels": 64}
    best = search(distance_to(target), PAPER)
    assert {name: best.value(name) for name in target} == pytest.approx(target)
    assert isinstance(best.value("wt_component_voxels"), int)


def test_ties_keep_what_there_is():
    assert search(lambda configs: np.zeros(len(configs)), PAPER) == PAPER


def coordinate(name):
    return next(coordinate for coordinate in GRID if coordinate.names[0] == name)


def test_a_probability_without_a_size_is_not_searched():
    of_wt, of_et = coordinate("wt_component_probability"), coordinate("et_component_probability")
    assert of_wt.changed(PAPER, of_wt.values) == []
    assert len(of_et.changed(PAPER, of_et.values)) == len(of_et.values)


def asked_for(score, grid, start=PAPER):
    """Search, and return the values that were asked for and the best settings."""
    asked = []

    def score_all(configs):
        asked.extend(tuple(config.value(name) for name in names_of(grid)) for config in configs)
        return np.array([score(config) for config in configs])

    best = search(score_all, start, grid)
    return list(dict.fromkeys(asked)), best


def test_a_ladder_ends_where_a_value_loses():
    grid = (ladder("wt_largest", 5, 4, 3, 2, 1),)
    losing = {0: 0.5, 5: 0.5, 4: 0.6, 3: 0.55, 2: 0.9, 1: 0.9}
    asked, best = asked_for(lambda config: losing[config.value("wt_largest")], grid)
    assert asked[:4] == [(0,), (5,), (4,), (3,)]
    assert best.value("wt_largest") == 2  # the second round tries all values of what helped
    useless = {0: 0.5, 5: 0.4, 4: 0.9, 3: 0.9, 2: 0.9, 1: 0.9}
    asked, best = asked_for(lambda config: useless[config.value("wt_largest")], grid)
    assert asked == [(0,), (5,)] and best == PAPER


def test_a_sweep_tries_every_value_again_in_each_round():
    grid = (sweep("wt", 0.3, 0.6), ladder("wt_largest", 2, 1))
    asked, best = asked_for(lambda config: config.wt - config.value("wt_largest"), grid)
    assert asked == [(0.45, 0), (0.3, 0), (0.6, 0), (0.6, 2)] and best == replace(PAPER, wt=0.6)


def test_two_numbers_are_changed_together():
    grid = (coordinate("wt_hysteresis_low"),)
    asked, best = asked_for(lambda config: config.value("wt_hysteresis_high"), grid)
    assert best.value("wt_hysteresis_high") == 0.8 and best.value("wt_hysteresis_low") == 0.4
    assert all(high > low for low, high in asked[1:])


def test_what_has_no_score_is_never_chosen():
    grid = (sweep("wt", 0.3, 0.6),)
    assert asked_for(lambda config: np.nan if config.wt == 0.6 else config.wt, grid)[1] == PAPER
    assert asked_for(lambda config: np.nan if config.wt == 0.45 else config.wt, grid)[1].wt == 0.6


def test_every_number_that_is_searched_can_be_set():
    for searched in GRID:
        for values in searched.values:
            config = PAPER.with_values(
                **{
                    name: PAPER.settings[name].number.type(value)
                    for name, value in zip(searched.names, values, strict=True)
                }
            )
            assert [config.value(name) for name in searched.names] == list(values)
