import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from dataset_conversion.detect_edition import detect_edition
from dataset_conversion.editions import EDITIONS
from dataset_conversion.labels import nnunet_labels
from dataset_conversion.write import write_dataset_json
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.region_checks import check_regions

# Of BraTS' own evaluation: raw label values of each region. (2017 to 2022: 1, 2, 4; 2023 all tasks and 2024 SSA, MET:
# 1, 2, 3; 2024 GLI with the resection cavity outside WT; 2024 PED with ET 1, NETC 2, CC 3, ED 4.)
CLASSIC = {"WT": {1, 2, 4}, "TC": {1, 4}, "ET": {4}}
MODERN = {"WT": {1, 2, 3}, "TC": {1, 3}, "ET": {3}}
OFFICIAL_REGIONS = {
    **dict.fromkeys(["2017", "2018", "2019", "2020", "2021"], CLASSIC),
    **dict.fromkeys(["2023-gli", "2023-ssa", "2023-ped", "2023-men", "2023-met", "2024-ssa", "2024-met"], MODERN),
    "2024-gli": {**MODERN, "RC": {4}},
    "2024-ped": {"WT": {1, 2, 3, 4}, "TC": {1, 2, 3}, "ET": {1}, "CC": {3}},
    "menrt": {"GTV": {1}},
    "msd": {"WT": {1, 2, 3}, "TC": {2, 3}, "ET": {3}},  # its dataset.json: 1 oedema, 2 non-enhancing, 3 enhancing
}


def test_every_edition_is_checked_here():
    assert set(OFFICIAL_REGIONS) == set(EDITIONS)


@pytest.mark.parametrize("key", EDITIONS)
def test_regions_are_the_official_ones(key):
    edition = EDITIONS[key]
    raw = np.array(sorted(edition.tissues))
    converted = nnunet_labels(raw, edition.tissues)
    assert {region.name: set(raw[region.mask(converted)]) for region in edition.regions} == OFFICIAL_REGIONS[key]


@pytest.mark.parametrize("key", EDITIONS)
def test_nnunet_reads_the_regions_of_dataset_json(key, tmp_path):
    edition = EDITIONS[key]
    write_dataset_json(tmp_path, edition, n_training=1)
    content = read_json(tmp_path / "dataset.json")
    check_regions(content)
    manager = LabelManager(content["labels"], content["regions_class_order"])
    assert [set(region) for region in manager.foreground_regions] == [set(region.tissues) for region in edition.regions]
    assert manager.has_regions and content["channel_names"] == dict(zip("0123", edition.channels, strict=False))
    assert manager.all_labels == sorted({int(tissue) for tissue in edition.tissues.values()})
    # painting the regions of a label map in their order gives the label map back
    labels = np.arange(max(manager.all_labels) + 1)
    painted = np.zeros_like(labels)
    for region, label in zip(manager.foreground_regions, content["regions_class_order"], strict=True):
        painted[np.isin(labels, region)] = label
    np.testing.assert_array_equal(painted, labels)


@pytest.mark.parametrize("key", EDITIONS)
def test_labels_translate_one_to_one(key):
    tissues = EDITIONS[key].tissues
    assert len(set(tissues.values())) == len(tissues)
    assert tissues[0] == 0


CASES = {
    "2017": ("Brats17_CBICA_AAB_1", "Brats17_CBICA_AAB"),
    "2018": ("Brats18_TCIA01_147_1", "Brats18_TCIA01_147"),
    "2019": ("BraTS19_2013_10_1", "BraTS19_2013_10"),
    "2020": ("BraTS20_Training_001", "BraTS20_Training_001"),
    "2021": ("BraTS2021_00000", "BraTS2021_00000"),
    "2023-gli": ("BraTS-GLI-00000-001", "BraTS-GLI-00000"),
    "2023-ssa": ("BraTS-SSA-00002-000", "BraTS-SSA-00002"),
    "2023-men": ("BraTS-MEN-00004-000", "BraTS-MEN-00004"),
    "2023-met": ("BraTS-MET-00110-000", "BraTS-MET-00110"),
    "2024-gli": ("BraTS-GLI-00005-100", "BraTS-GLI-00005"),
    "menrt": ("BraTS-MEN-RT-0001-1", "BraTS-MEN-RT-0001"),
}


def touch(folder, case, key):
    edition = EDITIONS[key]
    (folder / case).mkdir(parents=True)
    for suffix in (*edition.image_suffixes.values(), edition.segmentation_suffix):
        (folder / case / f"{case}{suffix}.nii.gz").touch()


@pytest.mark.parametrize("key", CASES)
def test_the_edition_and_the_patient_are_told_from_the_case_id(key, tmp_path):
    case, patient = CASES[key]
    touch(tmp_path, case, key)
    assert detect_edition("auto", [tmp_path]).edition.key == key
    assert EDITIONS[key].patient(case) == patient
    assert EDITIONS[key].patient("something else") is None


def test_a_year_takes_the_task_from_the_case_ids(tmp_path):
    touch(tmp_path / "ped", "BraTS-PED-00001-000", "2024-ped")
    assert detect_edition("2024", [tmp_path / "ped"]).edition.key == "2024-ped"
    assert detect_edition("2023", [tmp_path / "ped"]).edition.key == "2023-ped"
    touch(tmp_path / "ssa", "BraTS-SSA-00002-000", "2024-ssa")
    assert detect_edition("2024", [tmp_path / "ssa"]).edition.key == "2024-ssa"


def test_where_label_values_would_differ_nothing_is_guessed(tmp_path):
    """The meanings of 1, 3 and 4 turned round between PED 2023 and PED 2024, and the case ids did not change."""
    touch(tmp_path, "BraTS-PED-00001-000", "2024-ped")
    with pytest.raises(InputError, match="--edition 2023-ped or 2024-ped"):
        detect_edition("auto", [tmp_path])


def test_cases_of_two_editions_are_not_one(tmp_path):
    touch(tmp_path, "BraTS-GLI-00000-000", "2023-gli")
    touch(tmp_path, "BraTS-GLI-00000-100", "2024-gli")
    touch(tmp_path, "BraTS-GLI-00001-000", "2023-gli")
    with pytest.raises(InputError, match="BraTS-GLI-00000-100 is not of 2023-gli, as 2 of 3 cases are"):
        detect_edition("auto", [tmp_path])


def test_a_prefix_is_not_a_match(tmp_path):
    """BraTS-MEN-RT begins like BraTS-MEN."""
    touch(tmp_path, "BraTS-MEN-RT-0001-1", "2023-men")
    assert detect_edition("auto", [tmp_path]).edition.key == "menrt"
    with pytest.raises(InputError, match="cannot tell"):
        detect_edition("2023", [tmp_path])


@pytest.mark.parametrize("key", ["1999", "2022", "list", "2023_gli", ""])
def test_unknown_editions_are_answered_with_the_list(key, tmp_path):
    with pytest.raises(InputError, match=re.escape(", ".join(EDITIONS))):
        detect_edition(key, [tmp_path])


@given(st.sampled_from(sorted(EDITIONS)), st.data())
def test_random_label_maps_come_back_by_the_inverse_table(key, data):
    tissues = EDITIONS[key].tissues
    values = np.array(data.draw(st.lists(st.sampled_from(sorted(tissues)), min_size=1, max_size=50)))
    inverse = np.zeros(max(tissues.values()) + 1, dtype=int)
    for raw, tissue in tissues.items():
        inverse[tissue] = raw
    np.testing.assert_array_equal(inverse[nnunet_labels(values, tissues)], values)


def test_the_table_in_the_docs_is_this_one():
    table = (Path(__file__).parents[2] / "docs" / "editions.md").read_text().splitlines()
    rows = {line.split("|")[1].strip(): line for line in table if line.split("|")[1:2] and line.split("|")[1].strip() in EDITIONS}
    assert list(rows) == list(EDITIONS)
    for key, edition in EDITIONS.items():
        _, _, files, labels, regions, _ = rows[key].split("|")
        if edition.volumes:
            assert re.findall(r"[A-Z]+\w+", files.split("with")[1]) == list(edition.volumes)
        else:
            assert re.findall("`(.*?)`", files) == [*edition.image_suffixes.values(), edition.segmentation_suffix]
        assert [int(value) for value in re.findall(r"\d", labels)] == sorted(edition.tissues)[1:]
        shown = {name: values for name, *values in (re.findall(r"\w+", region) for region in regions.split(";"))}
        assert shown == {region.name: [str(int(tissue)) for tissue in region.tissues] for region in edition.regions}
