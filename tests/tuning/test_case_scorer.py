"""The fast scores of tuning equal those of post-processing and evaluating each setting alone, and do less work."""

from dataclasses import replace
from pathlib import Path

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from nnunet_resunet_ds.base.regions import REGIONS, REGIONS_WITH_RC
from nnunet_resunet_ds.evaluation.case_metrics import evaluate_labels
from nnunet_resunet_ds.evaluation.detection import f1
from nnunet_resunet_ds.evaluation.dice import dice
from nnunet_resunet_ds.evaluation.lesions import ReferenceLesions
from nnunet_resunet_ds.evaluation.protocols import PROTOCOLS
from nnunet_resunet_ds.tuning import case_stages
from nnunet_resunet_ds.tuning.case_scorer import CaseScorer
from nnunet_resunet_ds.tuning.grid import GRID
from nnunet_resunet_ds.tuning.metrics import DICE, LESION_DICE, chosen_metric
from nnunet_resunet_ds.tuning.stored_case import StoredCase
from postprocessing import PostprocessingConfig, postprocess

GLIOMA = {"labels": {"background": 0, "WT": [1, 2, 3], "TC": [2, 3], "ET": 3}, "regions_class_order": [1, 2, 3]}
SHAPE = (12, 14, 13)
PAPER = PostprocessingConfig.paper()


def uncertain_case(number, n_channels=3, dtype=np.float32, spacing=(1.5, 1.0, 0.8)):
    """Blurred blobs, some of them apart, with noise; the reference is another draw of them."""
    random = np.random.default_rng(number)
    blobs = gaussian_filter(random.standard_normal(SHAPE), 1.6)
    noise = [gaussian_filter(random.standard_normal(SHAPE), 0.8) for _ in range(n_channels)]
    reference = np.zeros(SHAPE, np.uint8)
    for label, level in ((1, 0.5), (2, 0.9), (3, 1.2)):
        reference[blobs > level * blobs.std()] = label
    if n_channels > 3:
        reference[blobs < -1.5 * blobs.std()] = 4
    fields = [blobs, blobs - 0.4 * blobs.std(), blobs - 0.7 * blobs.std(), -blobs - blobs.std()][:n_channels]
    values = [0.5 + 2 * (field + 0.3 * own) for field, own in zip(fields, noise, strict=True)]
    from_centre = np.linalg.norm(np.indices(SHAPE).T - np.array(SHAPE) / 2, axis=-1).T
    values = np.array(values) * np.clip(1.5 - from_centre / 6, 0, 1)  # so that regions have room to grow
    return StoredCase(np.clip(values, 0, 1).astype(dtype), reference, spacing, (20, 30, 25))


def setting(name):
    number = PAPER.settings[name].number
    values = {value for at in GRID if name in at.names for row in at.values for value in row} or {0, 1, 2, 5}
    if number.type is float:
        values |= {0.0, 0.55}
    return st.sampled_from(sorted(number.type(value) for value in values if value <= number.at_most))


NAMES = sorted(set(PAPER.settings) - {"connectivity"})
configs = st.lists(st.sampled_from(NAMES), max_size=6, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: setting(name) for name in names})
)
several = st.lists(st.tuples(configs, st.sampled_from([6, 18, 26]), st.booleans()), min_size=1, max_size=6)


def config_of(values, connectivity, nested):
    return replace(PAPER.with_values(**values), connectivity=connectivity, nested=nested)


def by_hand(case, config, metric, regions):
    labels = postprocess(case.probabilities, config, case.voxel_volume)
    pairs = [(region.mask(case.reference), region.mask(labels)) for region in regions]
    if metric == DICE:
        return np.mean([dice(*pair) for pair in pairs])
    return np.mean([ReferenceLesions(first, case.voxel_volume).dice(second) for first, second in pairs])


@settings(max_examples=150)
@given(
    st.integers(0, 7),
    several,
    st.sampled_from([DICE, LESION_DICE]),
    st.sampled_from([(3, REGIONS), (4, REGIONS_WITH_RC), (4, REGIONS)]),
    st.sampled_from([np.float32, np.float16, np.float64]),
)
def test_fast_scores_are_those_of_each_setting_alone(number, drawn, metric, outputs, dtype):
    n_channels, regions = outputs
    case = uncertain_case(number, n_channels, dtype)
    scorer = CaseScorer(case, metric, regions)
    for values, connectivity, nested in drawn:
        config = config_of(values, connectivity, nested)
        assert scorer(config) == by_hand(case, config, metric, regions)


def test_a_label_of_no_region_is_background_to_every_metric():
    """As nnU-Net's ignore label."""
    case = uncertain_case(1)
    ignored = replace(case, reference=np.where(case.reference == 0, 7, case.reference).astype(np.uint8))
    for name in ("dice", "hd95"):
        metric = chosen_metric(name, None, GLIOMA, Path("dataset.json"))
        assert CaseScorer(ignored, metric, REGIONS)(PAPER) == CaseScorer(case, metric, REGIONS)(PAPER)


@settings(max_examples=60)
@given(st.integers(0, 3), st.lists(st.sampled_from(GRID), min_size=1, max_size=4), st.data())
def test_label_maps_of_what_is_searched_are_those_of_each_setting_alone(number, coordinates, data):
    case = uncertain_case(number)
    stages = case_stages.CaseStages(case, [])
    config = PAPER
    for coordinate in coordinates:
        values = data.draw(st.sampled_from(coordinate.values))
        config = config.with_values(**dict(zip(coordinate.names, map(_number, coordinate.names, values), strict=True)))
        expected = postprocess(case.probabilities, config, case.voxel_volume)
        stage = stages.after(config)
        np.testing.assert_array_equal(stage.labels, expected)
        together = np.zeros_like(stage.counts)
        np.add.at(together, (case.reference.ravel(), expected.ravel()), 1)
        np.testing.assert_array_equal(stage.counts, together)


@pytest.mark.parametrize("coordinate", [at for at in GRID if len(at.names) == 2], ids=lambda at: at.names[0])
def test_regions_that_grow_are_those_of_each_setting_alone(coordinate):
    grown = 0
    for number in range(4):
        case = uncertain_case(number)
        stages = case_stages.CaseStages(case, [])
        for start in (PAPER, PAPER.with_values(wt=0.7, tc=0.7, et=0.7, wt_component_voxels=16)):
            before = stages.after(start).labels
            for config in coordinate.changed(start, coordinate.values):
                expected = postprocess(case.probabilities, config, case.voxel_volume)
                np.testing.assert_array_equal(stages.after(config).labels, expected)
                grown += int(np.count_nonzero(expected > before))
    assert grown


def test_components_of_two_regions_with_one_number_are_told_apart():
    probabilities = np.zeros((3, *SHAPE), np.float32)
    probabilities[:2, 1:6, 1:6, 1:6] = probabilities[:2, 9, 9, 9:11] = 0.8
    case = StoredCase(probabilities, np.zeros(SHAPE, np.uint8), (1.0,) * 3, SHAPE)
    stages = case_stages.CaseStages(case, [])
    for values in ({"wt_component_voxels": 16}, {"tc_component_voxels": 16}):
        config = PAPER.with_values(**values)
        np.testing.assert_array_equal(stages.after(config).labels, postprocess(probabilities, config))


def _number(name, value):
    return PAPER.settings[name].number.type(value)


# ---- the work that is done ----


def count(monkeypatch, owner, name):
    calls = []
    original = getattr(owner, name)

    def counted(*arguments, **more):
        calls.append(arguments)
        return original(*arguments, **more)

    monkeypatch.setattr(owner, name, counted)
    return calls


def test_components_are_found_once_for_all_sizes_and_probabilities(monkeypatch):
    labelled = count(monkeypatch, cc3d, "connected_components")
    scorer = CaseScorer(uncertain_case(1), DICE)
    scores = {
        scorer(PAPER.with_values(et_total_voxels=0, et_component_voxels=size, et_component_probability=probability))
        for size in (1, 4, 16, 64, 256, 1024)
        for probability in (0.6, 0.8, 1.0)
    }
    assert len(scores) > 1 and len(labelled) == 1


def test_thresholds_that_do_not_change_a_region_find_no_components_again(monkeypatch):
    labelled = count(monkeypatch, cc3d, "connected_components")
    case = uncertain_case(1)
    case.probabilities[0] = np.where(case.probabilities[2] >= 0.45, 1, case.probabilities[0])
    scorer = CaseScorer(case, DICE)
    wide = [scorer(PAPER.with_values(wt=threshold)) for threshold in (0.2, 0.3, 0.4, 0.5, 0.6)]
    assert len(set(wide)) > 1 and len(labelled) == 1


def test_the_label_map_before_a_step_is_made_once(monkeypatch):
    made = count(monkeypatch, case_stages, "apply_thresholds")
    scorer = CaseScorer(uncertain_case(2), DICE)
    for radius in (0, 1, 2):
        for size in (4, 16):
            scorer(PAPER.with_values(wt_closing=radius, et_component_voxels=size))
    assert len(made) == 1


# ---- the rules of a challenge ----

KEYS = {"dice": "dice", "lesion-dice": "lesion_dice", "hd95": "hd95"}
PARTLY = [
    (metric, protocol)
    for protocol in ("brats2021", "brats2023-gli", "brats2024-ssa", "brats2025-gli", "brats2026-met", "brats2026-goat")
    for metric in ("dice", "lesion-dice", "hd95", "nsd", "f1")
    if not (protocol == "brats2021" and metric in ("lesion-dice", "nsd", "f1"))
    and not (metric == "nsd" and protocol in ("brats2023-gli", "brats2024-ssa"))
    and not (metric == "lesion-dice" and protocol == "brats2026-goat")
]


def evaluated(case, labels, metric, protocol):
    """The mean over regions of what the evaluation of whole images gives, with axes (X, Y, Z)."""
    in_protocol = np.array([0, 2, 1, 3] if protocol != "brats2021" else [0, 2, 1, 4])
    before = [(0, size - own) for size, own in zip(case.image_shape, case.reference.shape, strict=True)]
    reference, prediction = (np.pad(in_protocol[values], before).transpose() for values in (case.reference, labels))
    found = evaluate_labels(reference, prediction, case.spacing[::-1], PROTOCOLS[protocol])
    values = []
    for row in found.values():
        if metric == "nsd":
            values.append(row["nsd_0.5"])
        elif metric == "f1":
            values.append(row["lesion_f1"] if "lesion_f1" in row else f1(row["n_tp"], row["n_fp"], row["n_fn"]))
        else:
            values.append(row[KEYS[metric]])
    return np.nanmean(values) if not np.isnan(values).all() else np.nan


@pytest.mark.parametrize(("metric", "protocol"), PARTLY)
def test_scores_of_a_protocol_are_those_of_the_evaluation(metric, protocol):
    chosen = chosen_metric(metric, protocol, GLIOMA, Path("dataset.json"))
    for number in range(2):
        case = uncertain_case(number)
        if number:
            case.reference[case.reference == 3] = 2  # no ET
        scorer = CaseScorer(case, chosen)
        for values in ({}, {"wt": 0.6}, {"et": 0.6, "wt_component_voxels": 64}, {"et_total_voxels": 3000, "wt": 0.75}):
            config = PAPER.with_values(**values)
            labels = postprocess(case.probabilities, config, case.voxel_volume)
            expected = evaluated(case, labels, metric, protocol)
            np.testing.assert_equal(chosen.shown(scorer(config)), expected)
