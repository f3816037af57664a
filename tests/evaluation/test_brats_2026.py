"""The protocols of 2026 against the numbers of the official package, see golden2026/README.md."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

from nnunet_resunet_ds.evaluation import evaluate_case
from nnunet_resunet_ds.evaluation.dice import BRATS, NAN
from nnunet_resunet_ds.evaluation.protocols import PROTOCOLS

GOLDEN = Path(__file__).parent / "golden2026"
NUMBERS = json.loads((GOLDEN / "numbers.json").read_text())
PROTOCOL = {"mets": "brats2026-met", "ped": "brats2026-ped", "GoAT": "brats2026-goat"}
COUNTS = {
    "n_tp": "all_instance_tp",
    "n_fp": "all_instance_fp",
    "n_fn": "all_instance_fn",
    "lesion_f1": "all_instance_f1",
}
WHOLE = {"dice": "global_dsc", "nsd_0.5": "global_nsd", "hd95": "global_hd95"}
LARGE = {
    "lesion_dice": "lesionwise_dsc_mean",
    "lesion_hd95": "lesionwise_hd95_mean",
    "lesion_nsd": "lesionwise_nsd_mean",
}
SMALL = {"small_n_tp": "small_instance_tp", "small_n_fn": "small_instance_fn", "small_f1": "small_instance_f1"}


@pytest.fixture(scope="module")
def label_maps():
    with np.load(GOLDEN / "label_maps.npz") as arrays:
        return dict(arrays)


def pair_of(label_maps, case, protocol):
    """Reference and prediction of a case, with the labels that the protocol has."""
    known = [label for rule in protocol.regions.values() for label in rule.labels]
    return [
        np.where(np.isin(values, known), values, 0) for values in (label_maps[f"{case}/{w}"] for w in ("ref", "pred"))
    ]


def test_the_numbers_are_of_these_label_maps(label_maps):
    content = b"".join(label_maps[key].tobytes() for key in sorted(label_maps))
    assert hashlib.sha256(content).hexdigest() == NUMBERS["label_maps_sha256"]


@pytest.mark.parametrize("configuration", PROTOCOL)
@pytest.mark.parametrize("case", NUMBERS["spacings"])
def test_the_numbers_are_those_of_the_official_package(case, configuration, label_maps):
    protocol, numbers = PROTOCOLS[PROTOCOL[configuration]], NUMBERS["numbers"][configuration][case]
    spacing = np.float32(NUMBERS["spacings"][case]).tolist()  # as a header has it
    pair = pair_of(label_maps, case, protocol)
    # The package measures regions in voxels, and lesions with the axes of the spacing in the other order.
    in_voxels = evaluate_case(*pair, (1, 1, 1), protocol)
    swapped = evaluate_case(*pair, spacing[::-1], protocol)
    assert {f"{region.lower()}" for region in protocol.regions} == set(numbers["f1_area"])
    for region in protocol.regions:
        for found, names in ((in_voxels, WHOLE), (swapped, COUNTS), *sized(protocol, swapped)):
            ours = {name: found[region][name] for name in names}
            theirs = {
                name: as_number(numbers["parsed"][f"{official}_{region.lower()}"]) for name, official in names.items()
            }
            assert ours == pytest.approx(theirs, abs=1e-9, nan_ok=True), (region, names)
        area = swapped[region]["lesion_f1_area"]
        assert (0 if math.isnan(area) else area) == pytest.approx(numbers["f1_area"][region.lower()], abs=1e-9)


def sized(protocol, found):
    return ((found, LARGE), (found, SMALL)) if protocol.size_rule else ()


def as_number(value):
    return math.nan if value is None else value


def test_the_cases_have_what_the_rules_tell_apart():
    """Large and small lesions, found, missed and false; small ones that overlap too little; nothing at all."""
    rows = {case: of["parsed"] for case, of in NUMBERS["numbers"]["mets"].items()}
    assert sum(row["small_instance_tp_et"] or 0 for row in rows.values()) > 5
    assert sum(row["small_instance_fn_et"] or 0 for row in rows.values()) > 5
    assert sum(row["all_instance_fp_et"] for row in rows.values()) > 5
    counted = [row["small_instance_fn_et"] or 0 for row in rows.values()]
    assert any(small > row["all_instance_fn_et"] for small, row in zip(counted, rows.values(), strict=True))
    assert rows["nothing"]["global_dsc_wt"] is None and rows["none predicted"]["global_hd95_wt"] == 373


CUBE = np.zeros((12, 12, 12), np.uint8)
CUBE[2:5, 2:5, 2:5] = 3  # 27 voxels


@pytest.mark.parametrize(("spacing", "is_large"), [((1, 1, 1), True), ((1, 1, 0.99), False)])
def test_a_lesion_of_27_mm3_is_large(spacing, is_large):
    found = evaluate_case(CUBE, CUBE, spacing, "brats2026-met")["ET"]
    assert math.isnan(found["lesion_dice"]) is not is_large
    assert math.isnan(found["small_f1"]) is is_large


@pytest.mark.parametrize(("n_common", "found"), [(1, 0), (2, 1)])
def test_a_small_lesion_is_found_from_a_dice_of_one_fifth(n_common, found):
    """10 voxels and 10 voxels: Dice 0.2 where two are common, 0.1 where one is."""
    reference, prediction = np.zeros((2, 3, 24, 3), np.uint8)
    reference[1, :10, 1] = 3
    prediction[1, 10 - n_common : 20 - n_common, 1] = 3
    metrics = evaluate_case(reference, prediction, (1, 1, 1), "brats2026-met")["ET"]
    assert (metrics["small_n_tp"], metrics["small_n_fn"], metrics["n_tp"], metrics["n_fp"]) == (found, 1 - found, 1, 0)
    assert metrics["small_f1"] == found


def test_missed_and_false_lesions_cost_the_penalty_in_the_mean_of_large_ones():
    reference, prediction = np.zeros((2, 20, 20, 20), np.uint8)
    reference[2:6, 2:6, 2:6] = prediction[2:6, 2:6, 2:6] = 3
    reference[12:16, 2:6, 2:6] = 3  # missed
    prediction[2, 12, 2] = prediction[12, 12, 2] = 3  # false, and of one voxel each
    found = evaluate_case(reference, prediction, (1, 1, 1), "brats2026-met")["ET"]
    assert found["lesion_dice"] == found["lesion_nsd"] == pytest.approx(1 / 4)
    assert found["lesion_hd95"] == pytest.approx(3 * 373 / 4)
    assert found["lesion_f1"] == pytest.approx(2 / (2 + 2 + 1))


def test_regions_that_only_touch_have_the_worst_surfaces():
    reference, prediction = np.zeros((2, 9, 9, 9), np.uint8)
    reference[2:4], prediction[4:6] = 3, 3
    found = evaluate_case(reference, prediction, (0.5, 0.5, 0.5), "brats2026-goat")["ET"]
    assert (found["hd95"], found["nsd_0.5"]) == (373, 0)


def test_a_region_that_is_empty_in_both_has_no_number_unless_another_rule_is_asked_for():
    nothing = np.zeros((5, 5, 5), np.uint8)
    found = evaluate_case(nothing, nothing, (1, 1, 1), "brats2026-ped")["ET"]
    for name in ("dice", "hd95", "nsd_0.5", "sensitivity", "lesion_f1", "lesion_f1_area"):
        assert math.isnan(found[name])
    as_before = evaluate_case(nothing, nothing, (1, 1, 1), "brats2026-ped", empty_regions=BRATS)["ET"]
    assert (as_before["dice"], as_before["hd95"], as_before["nsd_0.5"]) == (1, 0, 1)
    one = evaluate_case(CUBE, CUBE * 0, (1, 1, 1), "brats2026-goat")["ET"]
    assert (one["dice"], one["nsd_0.5"], one["hd95"], one["lesion_f1"]) == (0, 0, 373, 0)
    assert math.isnan(evaluate_case(CUBE, CUBE * 0, (1, 1, 1), "brats2026-goat", empty_regions=NAN)["ET"]["hd95"])


@pytest.mark.parametrize("protocol", PROTOCOL.values())
def test_the_metrics_are_those_that_the_protocol_names(protocol):
    found = evaluate_case(CUBE % 3, CUBE % 3, (1, 1, 1), protocol)
    assert all(set(metrics) == set(PROTOCOLS[protocol].metrics) for metrics in found.values())
