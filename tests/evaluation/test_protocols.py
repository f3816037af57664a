"""The constants of every protocol are those of the documentation, which was written from the official scripts."""

import re
from pathlib import Path

import pytest

from nnunet_resunet_ds.evaluation.protocols import PROTOCOLS, Matching, PredictionFilter, protocol_named

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "protocols.md"


UNTIL_2025 = [name for name, protocol in PROTOCOLS.items() if protocol.matching is not Matching.ONE_TO_ONE]


def rows(n_cells=5):
    """Protocol name → the cells of its row, in the tables of so many columns."""
    found = {}
    for line in DOCS.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        names = re.findall(r"`(brats\d{4}[a-z-]*|-[a-z]+)`", cells[0])
        if len(cells) == n_cells and names:
            first = names[0]
            for name in names:
                found[first.partition("-")[0] + name if name.startswith("-") else name] = cells[1:]
    return found


def by_region(cell, regions):
    """``3; NETC, RC 5`` → a number a region."""
    common, _, exceptions = cell.partition(";")
    numbers = dict.fromkeys(regions, float(re.search(r"\d+", common)[0]))
    match = re.fullmatch(r"\s*(.+) (\d+)", exceptions)
    for region in re.split(r",\s*", match[1]) if match else ():
        numbers[region] = float(match[2])
    return numbers


def test_every_protocol_has_a_row():
    assert rows().keys() | rows(4).keys() == PROTOCOLS.keys()


@pytest.mark.parametrize("name", UNTIL_2025)
def test_the_constants_are_those_of_the_documentation(name):
    protocol = PROTOCOLS[name]
    regions, dilations, sizes, penalty = rows()[name]
    assert list(protocol.regions) == regions.split()
    is_lesion_wise = protocol.matching is Matching.NEAR
    assert protocol.penalty == (None if "diagonal" in penalty or not is_lesion_wise else float(penalty))
    if not is_lesion_wise:
        return
    for region, rule in protocol.regions.items():
        assert rule.dilations == by_region(dilations, protocol.regions)[region]
        assert rule.min_size == by_region(sizes, protocol.regions)[region]


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name not in UNTIL_2025])
def test_the_protocols_of_2026_are_as_documented(name):
    protocol = PROTOCOLS[name]
    regions, whole, lesions = rows(4)[name]
    assert list(protocol.regions) == regions.split()
    assert [f"NSD at {tolerance} mm" for tolerance in protocol.nsd_tolerances] == [whole.split(", ")[1]]
    assert ("large ones" in lesions) == bool(protocol.size_rule)
    assert protocol.penalty == 373
    if protocol.size_rule:
        text = DOCS.read_text()
        assert f"at least {protocol.size_rule.large_from:.0f} mm³ are large" in text
        assert f"with its match is at least {protocol.size_rule.found_from}." in text


@pytest.mark.parametrize("name", PROTOCOLS)
def test_systems_are_ranked_as_documented(name):
    table = DOCS.read_text().partition("| protocol | ranked by |")[2].partition("\n\n")[0]
    year = name.removeprefix("brats")[:4]
    row = next(
        line for line in table.splitlines() if f"`{name}`" in line or (year in "2023 2024 2025" and "2023 to" in line)
    )
    assert tuple(re.findall(r"`(\w[\w.]*)`", row.split("|")[2])) == PROTOCOLS[name].ranked_by
    assert set(PROTOCOLS[name].ranked_by) <= set(PROTOCOLS[name].metrics)


def test_2025_adds_nsd_at_both_tolerances():
    assert {name for name, protocol in PROTOCOLS.items() if protocol.nsd_tolerances == (0.5, 1.0)} == {
        name for name in PROTOCOLS if name.startswith("brats2025")
    }


def test_since_2024_predictions_are_filtered_but_for_men():
    filtered = {name for name, protocol in PROTOCOLS.items() if protocol.prediction_filter is not PredictionFilter.NONE}
    assert filtered == {name for name in UNTIL_2025 if name >= "brats2024"} - {"brats2025-men"}
    in_mm3 = {name for name, one in PROTOCOLS.items() if one.prediction_filter is PredictionFilter.MM3}
    assert (
        in_mm3
        == {name for name, one in PROTOCOLS.items() if not one.false_lesions_count}
        == {"brats2024-menrt", "brats2025-menrt"}
    )


JOINED = {
    "gli": {"NETC": ("ET", "RC"), "ET": ("NETC", "RC"), "RC": ("ET", "NETC"), "SNFH": ("ET", "RC", "NETC")},
    "ssa": {"ET": ("NETC",)},
    "met": {"ET": ("NETC",)},
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_tissues_join_as_in_the_official_scripts(name):
    year, _, task = name.removeprefix("brats").partition("-")
    expected = JOINED.get(task, {}) if year in ("2024", "2025") else {}
    assert {region: rule.joined_by for region, rule in PROTOCOLS[name].regions.items() if rule.joined_by} == expected
    assert set(PROTOCOLS[name].rules) >= {other for others in expected.values() for other in others}


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("brats2021", {"WT": {1, 2, 4}, "TC": {1, 4}, "ET": {4}}),
        ("brats2023-gli", {"WT": {1, 2, 3}, "TC": {1, 3}, "ET": {3}}),
        ("brats2024-gli", {"WT": {1, 2, 3}, "TC": {1, 3}, "NETC": {1}, "SNFH": {2}, "ET": {3}, "RC": {4}}),
        ("brats2024-ped", {"WT": {1, 2, 3, 4}, "TC": {1, 2, 3}, "ET": {1}, "NETC": {2}, "CC": {3}, "ED": {4}}),
        ("brats2025-met", {"WT": {1, 2, 3}, "TC": {1, 3}, "ET": {3}, "RC": {4}}),
        ("brats2024-menrt", {"GTV": {1}}),
        ("brats2026-met", {"WT": {1, 2, 3}, "TC": {1, 3}, "ET": {3}, "RC": {4}}),
        ("brats2026-ped", {"WT": {1, 2, 3, 4}, "TC": {1, 2, 3}, "ET": {1}, "NETC": {2}, "CC": {3}, "ED": {4}}),
        ("brats2026-goat", {"WT": {1, 2, 3}, "TC": {1, 3}, "ET": {3}}),
    ],
)
def test_regions_are_made_of_the_labels_of_the_releases(name, labels):
    assert {region: set(rule.labels) for region, rule in protocol_named(name).regions.items()} == labels
