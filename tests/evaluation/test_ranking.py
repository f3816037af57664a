"""Ranking systems: the rule by brute force, its files, and what it refuses."""

import csv
import json
import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.evaluation import ranking
from nnunet_resunet_ds.evaluation.protocols import PROTOCOLS
from nnunet_resunet_ds.evaluation.ranking import mean_ranks, p_values, rank_systems
from nnunet_resunet_ds.evaluation.statistics import common_cases


def metrics(*values):
    return {f"case{number}": {"WT": {"dice": value, "hd95": 10 - value}} for number, value in enumerate(values)}


def test_ranks_are_means_over_cases_regions_and_metrics_with_ties_shared():
    systems = {"a": metrics(0.9, 0.5, 0.7), "b": metrics(0.8, 0.5, 0.8), "c": metrics(0.1, 0.2, 0.1)}
    assert mean_ranks(systems, common_cases(systems), ["dice", "hd95"]) == pytest.approx(
        {"a": (1 + 1.5 + 2) / 3, "b": (2 + 1.5 + 1) / 3, "c": 3}
    )


def test_nothing_found_where_nothing_is_counts_as_the_best():
    """Dice has no number then, and a system that invents a tumour there has Dice 0."""
    systems = {"empty": metrics(math.nan, 0.5), "false": metrics(0.0, 0.5)}
    assert mean_ranks(systems, common_cases(systems), ["dice", "hd95"]) == {"empty": 1.25, "false": 1.75}


def test_a_distance_without_a_number_is_the_worst_where_one_alone_is_empty():
    systems = {"missed": metrics(0.0), "found": metrics(0.5)}
    systems["missed"]["case0"]["WT"]["hd95"] = math.nan
    assert mean_ranks(systems, ["case0"], ["hd95"]) == {"missed": 2, "found": 1}


def test_no_lesion_that_counts_and_no_false_one_is_the_best_whatever_the_dice():
    """The reference has one too small to count: to miss it costs nothing, to invent another does."""
    systems = {"missed": metrics(0.0), "false": metrics(0.0)}
    for system, value in (("missed", math.nan), ("false", 0.0)):
        systems[system]["case0"]["WT"]["lesion_dice"] = value
    assert mean_ranks(systems, ["case0"], ["lesion_dice"]) == {"missed": 1, "false": 2}


def test_a_missing_case_is_worse_than_any_distance():
    systems = {"far": metrics(-500.0), "none": {}}
    found = rank_systems(systems, ["case0"], ["WT"], ["hd95"])
    assert dict(found.mean_ranks) == {"far": 1, "none": 2}


def test_equal_systems_share_the_better_place():
    systems = {"a": metrics(0.5), "b": metrics(0.9), "c": metrics(0.9), "d": metrics(0.1)}
    found = rank_systems(systems, ["case0"], ["WT"], ["dice"])
    assert dict(found.places) == {"b": 1, "c": 1, "a": 3, "d": 4}
    assert found.p_values["b", "c"] == 1 and ("c", "b") not in found.p_values


def test_a_missing_case_is_ranked_last():
    systems = {"all": metrics(0.1, 0.1), "one": metrics(0.9), "other": metrics(0.5)}
    found = rank_systems(systems, ["case0", "case1"], ["WT"], ["dice"])
    assert {system: ranks.tolist() for system, ranks in found.case_ranks.items()} == {
        "one": [1, 2.5],
        "all": [3, 1],
        "other": [2, 2.5],
    }
    assert dict(found.mean_ranks) == {"one": 1.75, "all": 2, "other": 2.25}
    assert dict(found.places) == {"one": 1, "all": 2, "other": 3}


def brute_force_p(better, worse):
    """Exchange the ranks of both in every choice of cases."""
    difference = np.subtract(worse, better)
    sums = [np.dot(signs, difference) for signs in product((1, -1), repeat=len(difference))]
    return np.mean([of >= difference.sum() - 1e-9 for of in sums])


rank_tables = st.lists(
    st.lists(st.sampled_from([1.0, 1.5, 2.0, 2.25, 3.0]), min_size=3, max_size=3), min_size=2, max_size=7
)


@settings(max_examples=40)
@given(rank_tables)
def test_p_values_are_those_of_all_exchanges(table):
    ranks = dict(zip("abc", np.array(table).T, strict=True))
    found = p_values(ranks)
    assert len(found) == 3
    for (better, worse), p_value in found.items():
        assert ranks[better].sum() <= ranks[worse].sum() + 1e-9
        assert p_value == pytest.approx(brute_force_p(ranks[better], ranks[worse]))


def test_many_cases_are_exchanged_at_random_with_nearly_the_same_p(monkeypatch):
    random = np.random.default_rng(0)
    ranks = {"a": random.uniform(1, 2.6, 14), "b": random.uniform(1.2, 3, 14)}
    exact = p_values(ranks)
    monkeypatch.setattr(ranking, "MAX_EXACT_CASES", 5)
    drawn = p_values(ranks)
    assert drawn != exact and list(drawn.values()) == pytest.approx(list(exact.values()), abs=0.01)
    assert p_values(ranks) == drawn


def test_the_permutation_test_agrees_with_that_of_scipy():
    random = np.random.default_rng(3)
    better, worse = random.uniform(1, 2, 10), random.uniform(1.2, 2.2, 10)
    theirs = stats.permutation_test(
        (worse, better), lambda a, b: np.mean(a - b), permutation_type="samples", alternative="greater"
    )
    assert p_values({"better": better, "worse": worse})[("better", "worse")] == pytest.approx(theirs.pvalue)


NAMES = ["BraTS-MET-00001-000", "BraTS-MET-00002-000"]


def write(path, dice, protocol="brats2026-goat", cases=NAMES, reference="r", **others):
    """What evaluate leaves of a system with one Dice in all cases."""
    rules = PROTOCOLS[protocol]
    regions = {region: {**dict.fromkeys(rules.metrics, 0.5), "dice": dice} for region in rules.regions}
    content = {
        "protocol": protocol,
        "empty_regions": rules.empty_regions.name,
        "cases": dict.fromkeys(cases, regions),
        "files": {case: {"reference": reference, "prediction": "p"} for case in cases},
        **others,
    }
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def systems(tmp_path):
    return [write(tmp_path / f"{name}.json", dice) for name, dice in (("good", 0.9), ("bad", 0.2), ("fair", 0.5))]


def rank(*arguments):
    return main(["rank", *map(str, arguments)])


def test_the_files_hold_the_ranking(systems, tmp_path, capsys):
    output, table = tmp_path / "new" / "ranking.json", tmp_path / "new" / "ranking.csv"
    assert rank(*systems, "-o", output, "--csv", table, "--by", "dice") == 0
    content = json.loads(output.read_text())
    good, bad, fair = map(str, systems)
    assert {system: entry["place"] for system, entry in content["systems"].items()} == {good: 1, fair: 2, bad: 3}
    assert content["systems"][fair]["case_ranks"] == dict.fromkeys(NAMES, 2)
    assert {"better": good, "worse": bad, "p_value": 0.25} in content["pairs"] and len(content["pairs"]) == 3
    rows = list(csv.DictReader(table.open()))
    assert [row["system"] for row in rows] == [good, fair, bad]
    assert float(rows[2]["mean_rank"]) == float(rows[2][NAMES[0]]) == 3
    printed = capsys.readouterr().out
    assert "ranked in 2 cases by dice" in printed and f"0.2500  {good} before {bad}" in printed
    assert printed.index(f"1.000  {good}") < printed.index(f"2.000  {fair}")
    assert rank(*systems, "--by", "dice", "--json") == 0
    assert json.loads(capsys.readouterr().out) == content


def test_by_default_it_ranks_by_the_metrics_of_the_protocol(systems, capsys):
    assert rank(*systems) == 0
    assert "by dice, nsd_0.5, lesion_f1" in capsys.readouterr().out


def test_a_system_that_lacks_a_case_is_last_there(systems, tmp_path, capsys):
    write(systems[0], 0.9, cases=NAMES[:1])
    assert rank(*systems, "-o", tmp_path / "ranking.json", "--by", "dice") == 0
    assert f"{systems[0]}: lacks 1 of 2 cases, and is last in them" in capsys.readouterr().err
    entry = json.loads((tmp_path / "ranking.json").read_text())["systems"][str(systems[0])]
    assert entry["case_ranks"] == {NAMES[0]: 1, NAMES[1]: 3}


def without_nsd(path):
    write(path, 0.5, protocol="brats2025-gli")
    content = json.loads(path.read_text())
    for regions in content["cases"].values():
        for values in regions.values():
            del values["nsd_0.5"]
    path.write_text(json.dumps(content))


BAD = {
    "one file": (lambda paths: paths.__delitem__(slice(1, None)), [], "give two files or more"),
    "a file twice": (lambda paths: paths.append(paths[0]), [], "named once"),
    "another protocol": (lambda paths: write(paths[1], 0.5, protocol="brats2026-ped"), [], "is of brats2026-ped, and"),
    "another rule for empty regions": (
        lambda paths: write(paths[1], 0.5, empty_regions="nan"),
        [],
        "has --empty-regions nan, and",
    ),
    "other references": (
        lambda paths: write(paths[1], 0.5, reference="x"),
        [],
        f"the reference of {NAMES[0]} is another than in",
    ),
    "no metrics": (lambda paths: paths[1].write_text("{}"), [], "is not what resunet-ds evaluate writes"),
    "missing": (lambda paths: paths[1].unlink(), [], "bad.json"),
    "a metric without better and worse": (
        lambda _: None,
        ["--by", "dice", "n_fp"],
        "metric 'n_fp' cannot be ranked by in BraTS 2026 GoAT",
    ),
    "metrics of an earlier version": (
        lambda paths: list(map(without_nsd, paths)),
        ["--by", "nsd_0.5"],
        "has no nsd_0.5, for an earlier version",
    ),
    "no case in common": (lambda paths: write(paths[1], 0.5, cases=["another"]), [], "no case is in all of them"),
    "output that is read": (lambda paths: None, ["-o", "OURS"], "would be replaced, and is read by this command"),
    "output of another kind": (lambda _: None, ["-o", "ranking.txt"], "ends in .json"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_refused_in_one_line(kind, systems, capsys, bad_input):
    change, arguments, message = BAD[kind]
    change(systems)
    arguments = [str(systems[0]) if word == "OURS" else word for word in arguments]
    assert rank(*systems, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
    bad_input("rank", kind, error)
