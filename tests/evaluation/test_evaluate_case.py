import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import by_the_book
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.evaluation import evaluate_case, hausdorff
from nnunet_resunet_ds.evaluation.dice import NAN, mean_region_dice, overlap
from nnunet_resunet_ds.evaluation.lesions import ReferenceLesions
from nnunet_resunet_ds.evaluation.protocols import PROTOCOLS, Matching, PredictionFilter

GOLDEN = Path(__file__).parent / "golden"
"""Made-up label maps and what the official scripts say of them; index.json tells which scripts, and how called."""
OFFICIAL = {
    "dice": "Legacy_Dice",
    "lesion_dice": "LesionWise_Score_Dice",
    "lesion_hd95": "LesionWise_Score_HD95",
    "n_tp": "Num_TP",
    "n_fp": "Num_FP",
    "n_fn": "Num_FN",
    "reference_volume": "GT_Complete_Volume",
}
# Since 2024 the scripts pass numbered lesions on as a mask, which spoils these where there are several.
OFFICIAL_UNTIL_2023 = {"hd95": "Legacy_HD95", "sensitivity": "Sensitivity", "specificity": "Specificity"}
OFFICIAL_2025 = {
    "nsd_0.5": "Legacy NSD @ 0.5",
    "nsd_1.0": "Legacy NSD @ 1.0",
    "lesion_nsd_0.5": "LesionWise_Score_NSD @ 0.5",
    "lesion_nsd_1.0": "LesionWise_Score_NSD @ 1.0",
}
LESION_WISE = [name for name, protocol in PROTOCOLS.items() if protocol.matching is Matching.NEAR]
"""Until 2025; those of 2026 have golden numbers of their own."""


def golden_cases():
    for file in sorted(GOLDEN.glob("[0-9]*.json")):
        arrays = np.load(file.with_suffix(".npz"))
        yield file.stem, json.loads(file.read_text()), arrays["gt"], arrays["pred"]


def protocol_of(year, task):
    return PROTOCOLS[f"brats{year}-{task.removeprefix('BraTS-').replace('-', '').lower()}"]


def fits(labels, protocol):
    return set(np.unique(labels)) <= {0, *(label for rule in protocol.regions.values() for label in rule.labels)}


def test_the_official_numbers_are_of_these_label_maps():
    digests = {file.stem: hashlib.sha256(file.read_bytes()).hexdigest() for file in GOLDEN.glob("*.npz")}
    cases = json.loads((GOLDEN / "index.json").read_text())["cases"]
    assert digests == {case: entry["npz_sha256"] for case, entry in cases.items()}
    assert {case for case, *_ in golden_cases()} == set(cases)


def test_the_numbers_are_those_of_the_official_scripts():
    compared = set()
    for case, official, reference, prediction in golden_cases():
        for year in (2023, 2024, 2025):
            for task, regions in official[f"brats{year}"].items():
                if "__" in task or not fits(reference, protocol_of(year, task)):
                    continue
                protocol = protocol_of(year, task)
                found = evaluate_case(reference, prediction, official["spacing_mm"], protocol.name)
                assert list(found) == list(regions)
                is_sound = year == 2023 or protocol.name == "brats2025-men"
                names = OFFICIAL | OFFICIAL_UNTIL_2023 if is_sound else OFFICIAL
                names = names | OFFICIAL_2025 if year == 2025 else names
                for region, row in regions.items():
                    ours = {ours: found[region][ours] for ours in names}
                    # The scripts add 1e-8 to what they divide the NSD by.
                    assert ours == pytest.approx({ours: row[name] for ours, name in names.items()}, abs=1e-8), (
                        case,
                        protocol.name,
                        region,
                    )
                    compared.add(protocol.name)
    assert compared == set(LESION_WISE)


def test_hd95_since_2024_is_what_the_scripts_mean_to_measure():
    n = 0
    for _, official, reference, prediction in golden_cases():
        for task, rows in official["legacy_hd95_check_2024_2025"].items():
            protocol = protocol_of(2025, task)
            if fits(reference, protocol):
                found = evaluate_case(reference, prediction, official["spacing_mm"], protocol.name)
                for region, row in rows.items():
                    assert found[region]["hd95"] == pytest.approx(row["correct_hd95_on_thresholded_pred"], abs=1e-9)
                    n += 1
    assert n > 50


def label_maps(*values):
    few = st.sampled_from([0] * 12 + list(values))
    return hnp.arrays(np.uint8, st.tuples(*[st.integers(6, 11)] * 3), elements=few, fill=st.just(0))


def small(rules):
    """Of sizes that small images have on both sides of every threshold."""
    return {region: replace(rule, dilations=min(rule.dilations, 2), min_size=2) for region, rule in rules.items()}


@pytest.mark.parametrize(
    "name", ["brats2023-gli", "brats2024-gli", "brats2024-ssa", "brats2024-ped", "brats2024-menrt", "brats2025-met"]
)
@settings(max_examples=50)
@given(data=st.data())
def test_it_equals_the_description_step_by_step(name, data):
    protocol = PROTOCOLS[name]
    labels = sorted({label for rule in protocol.regions.values() for label in rule.labels})
    protocol = replace(protocol, regions=small(protocol.regions), unscored=small(protocol.unscored))
    reference = data.draw(label_maps(*labels))
    prediction = data.draw(hnp.arrays(np.uint8, reference.shape, elements=st.sampled_from([0] * 12 + labels)))
    spacing = data.draw(st.sampled_from([(1.0, 1.0, 1.0), (0.5, 1.0, 2.0), (1.0, 0.75, 1.25)]))
    reference, prediction = (np.pad(values, 3) for values in (reference, prediction))  # there is room to dilate
    # Where exactly 95 % of a surface of a few corners is within a distance, rounding decides.
    distance = partial(by_the_book.hd95, percent=94.713)
    with patch.object(hausdorff, "PERCENT", 94.713):
        found = evaluate_case(reference, prediction, spacing, protocol)
    expected = by_the_book.evaluate(reference, prediction, spacing, protocol, distance)
    assert list(found) == list(expected)
    for region, metrics in expected.items():
        assert found[region] == pytest.approx(metrics, abs=1e-9), region


def test_lesions_that_touch_one_lesion_of_the_core_are_one():
    """Two of ET beside one of NETC, one of them predicted: 2·8 / (16 + 8), and not the mean of 1 and 0."""
    reference = np.zeros((20, 16, 16), np.uint8)
    reference[8:12, 6:8, 6:8] = 1
    prediction = reference.copy()
    reference[6:8, 6:8, 6:8] = reference[12:14, 6:8, 6:8] = prediction[6:8, 6:8, 6:8] = 3
    protocol = PROTOCOLS["brats2024-gli"]
    regions, unscored = (
        {name: replace(rule, dilations=0, min_size=0.0) for name, rule in rules.items()}
        for rules in (protocol.regions, protocol.unscored)
    )
    found = evaluate_case(reference, prediction, (1, 1, 1), replace(protocol, regions=regions, unscored=unscored))
    assert found["ET"]["lesion_dice"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("voxel_volume", "counts"), [(6.25, False), (6.26, True)])
def test_a_lesion_of_exactly_the_smallest_size_does_not_count(voxel_volume, counts):
    lesion = np.zeros((6, 6, 6), bool)
    lesion[2:4, 2:4, 2:4] = True  # 8 voxels; those up to 50 mm³ do not count
    assert ReferenceLesions(lesion, voxel_volume).dice(np.zeros_like(lesion)) == (0 if counts else 1)


@pytest.mark.parametrize(("spacing", "n_fp"), [((1, 1, 1), 0), ((1, 1, 1.01), 1)])
def test_predicted_lesions_are_left_out_by_volume_where_the_protocol_says_mm3(spacing, n_fp):
    """Of MEN-RT, say: a predicted lesion of 8 voxels that is exactly as large as the smallest is no false one."""
    protocol = next(one for one in PROTOCOLS.values() if one.prediction_filter is PredictionFilter.MM3)
    name, rule = next(iter(protocol.regions.items()))
    only = replace(protocol, regions={name: replace(rule, dilations=0, min_size=8.0)}, unscored={})
    prediction = np.zeros((8, 8, 8), np.uint8)
    prediction[2:4, 2:4, 2:4] = rule.labels[0]
    assert evaluate_case(np.zeros_like(prediction), prediction, spacing, only)[name]["n_fp"] == n_fp


def test_nothing_outside_has_no_specificity():
    assert overlap(np.ones((2, 2, 2), bool), np.ones((2, 2, 2), bool)).specificity() == 0


def test_regions_are_averaged_over_cases():
    rows = [{"WT": 1.0, "TC": 0.5, "ET": 0.0}, {"WT": 0.5, "TC": 0.5, "ET": 1.0}, {"WT": 0.0, "TC": 0.2, "ET": 1.0}]
    assert mean_region_dice(rows) == pytest.approx({"WT": 0.5, "TC": 0.4, "ET": 2 / 3})


def test_the_border_of_the_image_changes_nothing():
    random = np.random.default_rng(3)
    reference, prediction = (random.choice([0, 0, 0, 0, 0, 1, 2, 3], (14, 12, 10)) for _ in range(2))
    inner = evaluate_case(reference, prediction, (1, 1, 1), "brats2024-ssa")
    outer = evaluate_case(np.pad(reference, 5), np.pad(prediction, 5), (1, 1, 1), "brats2024-ssa")
    for region in inner:
        outer[region].pop("specificity")
        inner[region].pop("specificity")
    assert inner == outer


def ball(shape, centre, radius, spacing=(1, 1, 1)):
    grid = np.indices(shape).T * spacing - np.array(centre)
    return (np.linalg.norm(grid, axis=-1) <= radius).T


def test_two_concentric_balls_are_their_radii_apart():
    small, large = (ball((64,) * 3, (32, 32, 32), radius) for radius in (15, 22))
    found = evaluate_case(np.where(small, 3, 0), np.where(large, 3, 0), (1, 1, 1), "brats2023-gli")["ET"]
    assert found["hd95"] == pytest.approx(22 - 15, abs=0.6)
    assert found["dice"] == pytest.approx(2 * 15**3 / (15**3 + 22**3), rel=0.01)
    assert found["sensitivity"] == 1
    assert found["reference_volume"] == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.01)


@pytest.mark.parametrize("axis", range(3))
def test_a_shifted_cube_is_as_far_away_as_the_shift_in_mm(axis):
    spacing = (0.5, 1.5, 3.0)
    cube = np.zeros((20, 20, 20), int)
    cube[4:12, 4:12, 4:12] = 3
    found = evaluate_case(cube, np.roll(cube, 2, axis), spacing, "brats2023-gli")["ET"]
    assert found["hd95"] == pytest.approx(2 * spacing[axis])
    assert found["dice"] == pytest.approx(6 / 8)
    assert found["lesion_hd95"] == found["hd95"]


EMPTY, SOME = np.zeros((10, 10, 10), int), np.zeros((10, 10, 10), int)
SOME[2:7, 2:7, 2:7] = 3
DIAGONAL = 10 * np.sqrt(3)


PENALTIES = dict.fromkeys(LESION_WISE, 374.0) | {
    "brats2024-gli": 337.0,
    "brats2025-gli": 337.0,
    "brats2025-met": DIAGONAL,
    "brats2024-menrt": DIAGONAL,
    "brats2025-menrt": DIAGONAL,
}


@pytest.mark.parametrize("protocol", LESION_WISE)
def test_empty_regions_by_the_rule_of_each_protocol(protocol):
    regions, penalty = PROTOCOLS[protocol].regions, PENALTIES[protocol]
    region = "ET" if "ET" in regions else "GTV"
    some = np.where(SOME, regions[region].labels[0], 0)
    names = ("dice", "hd95", "lesion_dice", "lesion_hd95", "sensitivity", "specificity")

    def scores(reference, prediction):
        found = evaluate_case(reference, prediction, (1, 1, 1), protocol)[region]
        return tuple(found[name] for name in names)

    nothing_averaged = region == "GTV"  # MEN-RT leaves false lesions out of the means
    assert scores(EMPTY, EMPTY) == (1, 0, 1, 0, 1, 1)
    assert scores(some, EMPTY) == pytest.approx((0, penalty, 0, penalty, 0, 1))
    false = (1, 0) if nothing_averaged else (0, penalty)
    assert scores(EMPTY, some) == pytest.approx((0, penalty, *false, 0, 1 - 125 / 1000))
    assert scores(some, some) == (1, 0, 1, 0, 1, 1)


def test_brats_2021_takes_the_diagonal_in_voxels_whatever_the_spacing():
    found = evaluate_case(np.where(SOME, 4, 0), EMPTY, (1, 1, 2), "brats2021")
    assert list(found) == ["WT", "TC", "ET"]
    assert found["ET"]["hd95"] == pytest.approx(DIAGONAL)
    assert "lesion_dice" not in found["ET"]


def test_false_lesions_do_not_count_for_the_target_volume_of_radiotherapy():
    found = evaluate_case(EMPTY, SOME // 3, (1, 1, 1), "brats2024-menrt")["GTV"]
    assert (found["dice"], found["lesion_dice"], found["lesion_hd95"], found["n_fp"]) == (0, 1, 0, 1)


def test_a_missed_lesion_too_small_to_count_costs_nothing_lesion_wise():
    small = np.zeros((9, 9, 9), int)
    small[1:4, 1:4, 1:4] = 3
    found = evaluate_case(small, small * 0, (1, 1, 1), "brats2023-gli")["ET"]
    assert (found["dice"], found["lesion_dice"], found["n_fn"]) == (0, 1, 0)
    assert evaluate_case(small, small * 0, (1, 1, 2), "brats2023-gli")["ET"]["n_fn"] == 1  # 54 mm³


def test_not_a_number_where_nothing_can_be_measured_is_another_policy():
    found = evaluate_case(EMPTY, EMPTY, (1, 1, 1), "brats2023-gli", empty_regions=NAN)["ET"]
    assert all(np.isnan(found[name]) for name in ("dice", "hd95", "sensitivity", "lesion_dice", "lesion_hd95"))
    found = evaluate_case(SOME, EMPTY, (1, 1, 1), "brats2023-gli", empty_regions=NAN)["ET"]
    assert (found["dice"], found["sensitivity"]) == (0, 0)
    assert np.isnan(found["hd95"])


maps = label_maps(1, 2, 3)


@settings(max_examples=40)
@given(maps, st.data())
def test_dice_and_hd95_are_symmetric_and_see_no_direction(reference, data):
    prediction = data.draw(hnp.arrays(np.uint8, reference.shape, elements=st.sampled_from([0, 0, 1, 2, 3])))
    spacing = (1.0, 1.5, 2.0)
    order = data.draw(st.permutations(range(3)))
    flips = data.draw(st.sets(st.integers(0, 2)))

    def turned(values):
        return np.flip(values, tuple(flips)).transpose(order)

    found = evaluate_case(reference, prediction, spacing, "brats2023-gli")
    exchanged = evaluate_case(prediction, reference, spacing, "brats2023-gli")
    moved = evaluate_case(turned(reference), turned(prediction), [spacing[axis] for axis in order], "brats2023-gli")
    for region, metrics in found.items():
        assert 0 <= metrics["dice"] <= 1
        assert metrics["dice"] == exchanged[region]["dice"]
        assert metrics["hd95"] == pytest.approx(exchanged[region]["hd95"])
        assert moved[region] == pytest.approx(metrics)


@settings(max_examples=40)
@given(maps)
def test_a_perfect_prediction_is_perfect(reference):
    for metrics in evaluate_case(reference, reference, (1, 1, 1), "brats2023-gli").values():
        assert (metrics["dice"], metrics["hd95"], metrics["n_fn"]) == (1, 0, 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_dtype_and_memory_order_do_not_matter(dtype, order):
    random = np.random.default_rng(0)
    reference, prediction = (random.choice([0, 0, 0, 1, 2, 3, 4], (12, 13, 14)) for _ in range(2))
    expected = evaluate_case(reference, prediction, (1, 1, 1), "brats2024-gli")
    arrays = (np.asarray(values, dtype=dtype, order=order) for values in (reference, prediction))
    assert evaluate_case(*arrays, (1, 1, 1), "brats2024-gli") == expected


def test_masks_of_one_region_may_be_bool():
    assert evaluate_case(SOME > 0, SOME > 0, (1, 1, 1), "brats2024-menrt")["GTV"]["dice"] == 1


@pytest.mark.parametrize(
    ("reference", "prediction", "spacing", "protocol", "message"),
    [
        (SOME, SOME[1:], (1, 1, 1), "brats2023-gli", "of one shape; got"),
        (SOME[0], SOME[0], (1, 1, 1), "brats2023-gli", "must be 3-D"),
        (SOME, SOME, (1, 1), "brats2023-gli", "three lengths"),
        (SOME, SOME, (1, 0, 1), "brats2023-gli", "three lengths"),
        (
            SOME,
            np.where(SOME, 4, 0),
            (1, 1, 1),
            "brats2023-gli",
            "prediction: label values 4 are not among BraTS 2023 GLI's",
        ),
        (SOME, SOME + 2e-3, (1, 1, 1), "brats2023-gli", "prediction: label values must be whole numbers"),
        (SOME, SOME / 2, (1, 1, 1), "brats2023-gli", "prediction: label values must be whole numbers"),
        (SOME, np.where(SOME, np.nan, 0), (1, 1, 1), "brats2023-gli", "prediction: label values must be whole numbers"),
        (SOME, SOME, (1, 1, 1), "brats2022", "choose from brats2021, "),
    ],
)
def test_what_cannot_be_compared_is_refused(reference, prediction, spacing, protocol, message):
    with pytest.raises(InputError, match=message):
        evaluate_case(reference, prediction, spacing, protocol)
