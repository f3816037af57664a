import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from dataset_conversion.detect_edition import (
    detect_edition,
    edition_by_case_ids,
    edition_doubts,
    same_images,
    same_labels,
)
from dataset_conversion.editions import EDITIONS
from dataset_conversion.labels import nnunet_labels
from dataset_conversion.write import write_dataset_json
from nnunet_resunet_ds.base.dataset_json import check_regions
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json

# Of BraTS' own evaluation: raw label values of each region. (2017 to 2022, UPENN, UCSF, TCGA: 1, 2, 4; 2023, SSA, MEN,
# GoAT and 2024 MET: 1, 2, 3; GLI since 2024 and MET since 2025 with RC = 4 outside WT; PED since 2024 with
# ET 1, NETC 2, CC 3, ED 4.)
CLASSIC = {"WT": {1, 2, 4}, "TC": {1, 4}, "ET": {4}}
MODERN = {"WT": {1, 2, 3}, "TC": {1, 3}, "ET": {3}}
MODERN_RC = {**MODERN, "RC": {4}}
PED_2024 = {"WT": {1, 2, 3, 4}, "TC": {1, 2, 3}, "ET": {1}, "CC": {3}}
MODERN_KEYS = [
    "2023-gli",
    "2023-ssa",
    "2023-ped",
    "2023-men",
    "2023-met",
    "2024-ssa",
    "2024-met",
    "2025-ssa",
    "2025-men",
]
OFFICIAL_REGIONS = {
    **dict.fromkeys(["2017", "2018", "2019", "2020", "2021", "upenn-gbm", "ucsf-pdgm", "brats-tcga"], CLASSIC),
    **dict.fromkeys([*MODERN_KEYS, "goat"], MODERN),
    **dict.fromkeys(["2024-gli", "2025-gli", "2025-met", "2026-met"], MODERN_RC),
    **dict.fromkeys(["2024-ped", "2025-ped", "2026-ped"], PED_2024),
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
    "2024-gli": ("BraTS-GLI-00005-100", "BraTS-GLI-00005"),
    "goat": ("BraTS-GoAT-00000", "BraTS-GoAT-00000"),
    "menrt": ("BraTS-MEN-RT-0001-1", "BraTS-MEN-RT-0001"),
    "upenn-gbm": ("UPENN-GBM-00001_21", "UPENN-GBM-00001"),
    "ucsf-pdgm": ("UCSF-PDGM-0429_FU003d", "UCSF-PDGM-0429"),
    "brats-tcga": ("TCGA-02-0006_1996.08.23", "TCGA-02-0006"),
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
    tasks = ("GLI-00005-100", "SSA-00002-000", "PED-00001-000", "MEN-00004-000", "MET-00110-000", "GoAT-00000")
    for task in tasks:
        touch(tmp_path / task[:3], f"BraTS-{task}", "2023-gli")
    touch(tmp_path / "RT", "BraTS-MEN-RT-0001-1", "menrt")
    for year, expected in {
        "2023": {"SSA": "2023-ssa", "PED": "2023-ped", "MEN": "2023-men", "MET": "2023-met"},
        "2024": {"GLI": "2024-gli", "SSA": "2024-ssa", "PED": "2024-ped", "MET": "2024-met",
                 "GoA": "goat", "RT": "menrt"},
        "2025": {"GLI": "2025-gli", "SSA": "2025-ssa", "PED": "2025-ped", "MEN": "2025-men", "MET": "2025-met",
                 "GoA": "goat", "RT": "menrt"},
        "2026": {"PED": "2026-ped", "MET": "2026-met", "GoA": "goat"},
    }.items():  # fmt: skip
        told = {}
        for folder in tmp_path.iterdir():
            try:
                told[folder.name] = detect_edition(year, [folder]).edition.key
            except InputError:
                continue
        assert told == expected


@pytest.mark.parametrize(
    ("case", "choices"),
    [
        ("BraTS-PED-00001-000", "--edition 2023-ped or 2024-ped (2025-ped and 2026-ped as 2024-ped)"),
        ("BraTS-MET-00110-000", "--edition 2023-met or 2025-met (2024-met as 2023-met, 2026-met as 2025-met)"),
    ],
)
def test_where_label_values_would_differ_nothing_is_guessed(case, choices, tmp_path):
    """The meanings of 1, 3 and 4 turned round between PED 2023 and PED 2024, and MET has had RC since 2025."""
    touch(tmp_path, case, "2024-ped")
    with pytest.raises(InputError, match=re.escape(choices)):
        detect_edition("auto", [tmp_path])
    decision = detect_edition("auto", [tmp_path], alike=same_images)
    assert decision.edition.image_suffixes == EDITIONS["2023-ped"].image_suffixes


RELEASES = {
    "ASNR-MICCAI-BraTS2023-PED-Challenge-TrainingData": ("PED", "2023-ped"),
    "BraTS-PEDs2024_Training": ("PED", "2024-ped"),
    "BraTS26_PED_training": ("PED", "2026-ped"),
    "ASNR-MICCAI-BraTS2023-MET-Challenge-TrainingData_Additional": ("MET", "2023-met"),
    "MICCAI-BraTS2024-MET-Challenge-TrainingData_2": ("MET", "2024-met"),
    "MICCAI-LH-BraTS2025-MET-Challenge-Training": ("MET", "2025-met"),
}
"""Folders of releases whose case ids fit several editions."""


@pytest.mark.parametrize("folder", RELEASES)
def test_the_folders_of_a_release_decide_where_ids_do_not(folder, tmp_path):
    task, key = RELEASES[folder]
    touch(tmp_path / folder / "some", f"BraTS-{task}-00001-000", key)
    for source in (tmp_path, tmp_path / folder, tmp_path / folder / "some"):
        decision = detect_edition("auto", [source])
        assert decision.edition.key == key and decision.reason.endswith(f"the folder {folder}")
    touch(tmp_path / "other", f"BraTS-{task}-00002-000", key)
    with pytest.raises(InputError, match="say which it is"):
        detect_edition("auto", [tmp_path])


@pytest.mark.parametrize("name", ["BraTS2023", "BraTS-PED", "BraTS2023-GLI", "BraTS20235-PED", "BraTS2023_and_PED2024"])
def test_other_folders_decide_nothing_or_what_they_say(name, tmp_path):
    touch(tmp_path / name, "BraTS-PED-00001-000", "2023-ped")
    if name == "BraTS2023_and_PED2024":  # BraTS 2023 is what it says
        assert detect_edition("auto", [tmp_path]).edition.key == "2023-ped"
        return
    with pytest.raises(InputError, match="say which it is"):
        detect_edition("auto", [tmp_path])


def test_folders_of_two_releases_are_not_one(tmp_path):
    for number, folder in enumerate(("BraTS-PEDs2024_Training", "ASNR-MICCAI-BraTS2023-PED-Challenge-TrainingData")):
        touch(tmp_path / folder, f"BraTS-PED-0000{number}-000", "2023-ped")
    with pytest.raises(InputError, match="say which it is"):
        detect_edition("auto", [tmp_path])


# ---- cases of several editions ----


def test_cases_of_two_editions_that_differ_are_not_one(tmp_path):
    touch(tmp_path, "BraTS-SSA-00000-000", "2023-ssa")
    touch(tmp_path, "BraTS-GLI-00000-100", "2024-gli")
    touch(tmp_path, "BraTS-SSA-00001-000", "2023-ssa")
    with pytest.raises(InputError, match=r"2 of 3 cases are of 2023-ssa, .* BraTS-GLI-00000-100, of 2024-gli; give"):
        detect_edition("auto", [tmp_path])


def test_what_is_not_clear_alone_is_not_clear_in_company(tmp_path):
    """GLI 2023 and PED 2023 are alike, and the cases of PED may be of 2024."""
    touch(tmp_path, "BraTS-GLI-00000-000", "2023-gli")
    touch(tmp_path, "BraTS-PED-00001-000", "2024-ped")
    with pytest.raises(InputError, match="cannot tell the edition"):
        detect_edition("auto", [tmp_path])
    assert detect_edition("2023", [tmp_path]).edition.title == "BraTS 2023 GLI and BraTS 2023 PED"


def test_both_time_points_of_glioma_are_of_2025(tmp_path):
    touch(tmp_path / "pre", "BraTS-GLI-00000-000", "2023-gli")
    touch(tmp_path / "post", "BraTS-GLI-00000-100", "2024-gli")
    assert detect_edition("auto", [tmp_path]).edition.key == "2025-gli"
    before = detect_edition("auto", [tmp_path / "pre"])
    assert before.edition.key == "2023-gli" and before.reason.endswith("to read them as BraTS 2025 GLI, name 2025-gli")
    after = detect_edition("auto", [tmp_path / "post"])
    assert after.edition.key == "2024-gli" and after.reason.endswith(", BraTS 2025 GLI would be read the same")
    assert detect_edition("2025", [tmp_path / "pre"]).edition.key == "2025-gli"


def test_editions_that_are_alike_are_read_as_one(tmp_path):
    for key in ("2018", "2020", "2021"):
        touch(tmp_path / key, CASES[key][0], key)
    decision = detect_edition("auto", [tmp_path / "2018", tmp_path / "2020", tmp_path / "2021"])
    assert decision.edition.title == "BraTS 2018 and BraTS 2020 and BraTS 2021"
    assert decision.edition.conventions == EDITIONS["2021"].conventions
    assert decision.edition.odd_segmentations == EDITIONS["2020"].odd_segmentations
    for key in ("2018", "2020", "2021"):
        assert f"{CASES[key][0]} (BraTS {key})" in decision.reason


def test_label_values_are_told_where_regions_are_not(tmp_path):
    """MET since 2025 has one more value; the values before mean the same."""
    assert edition_by_case_ids("auto", ["BraTS-MET-00110-000"]).edition.key == "2025-met"
    assert edition_by_case_ids("auto", ["BraTS-GLI-00000-000"]).edition.key == "2023-gli"
    assert edition_by_case_ids("auto", ["BraTS2021_00000", "Brats18_TCIA01_147_1"]).edition.key == "2018"
    with pytest.raises(InputError, match="2023-ped or 2024-ped"):
        edition_by_case_ids("auto", ["BraTS-PED-00001-000"])
    with pytest.raises(InputError, match="cannot tell"):
        edition_by_case_ids("auto", ["BraTS-GLI-00000-000", "BraTS2021_00000"])


def test_a_named_edition_is_doubted_where_labels_mean_other_things():
    for key, case, doubted in [
        ("2023-gli", "BraTS-GLI-00000-100", "looks like BraTS 2024 GLI, which"),
        ("2024-gli", "BraTS-GLI-00000-000", "looks like BraTS 2023 GLI, which"),
        ("2023-gli", "BraTS-PED-00001-000", "looks like BraTS 2024 PED, which"),
        ("2021", "BraTS-MEN-RT-0001-1", "looks like BraTS MEN-RT, which"),
        ("2023-gli", "BraTS-MEN-00004-000", None),  # the same labels and regions
        ("2025-gli", "BraTS-GLI-00000-000", None),
        ("2023-gli", "case-1", None),
    ]:
        said = edition_doubts(EDITIONS[key], [case])
        assert said is None if doubted is None else doubted in said


SCHEMES = {key: edition.tissues for key, edition in EDITIONS.items()}


@example(["msd", "menrt"])  # 1 of both is 1 of nnU-Net, and means another thing
@given(st.lists(st.sampled_from(sorted(EDITIONS)), min_size=1, max_size=4))
def test_label_values_are_the_same_where_no_map_reads_differently(keys):
    """Against brute force: of each two editions, each value and each tissue that both have."""
    clash = any(
        (one == other) is not (mine is its)
        for first in keys
        for second in keys
        for one, mine in SCHEMES[first].items()
        for other, its in SCHEMES[second].items()
        if one == other or mine is its
    )
    assert same_labels([EDITIONS[key] for key in keys]) is not clash


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
    table = (Path(__file__).parents[2] / "docs" / "reference" / "editions.md").read_text().splitlines()
    rows = {line.split("|")[1].strip(): line for line in table if line.startswith("|")}
    rows = {key: line for key, line in rows.items() if key in EDITIONS}
    assert list(rows) == list(EDITIONS)
    for key, edition in EDITIONS.items():
        _, _, files, labels, regions, _ = rows[key].split("|")
        if edition.volumes:
            assert re.findall(r"[A-Z]+\w+", files.split("with")[1]) == list(edition.volumes)
        else:
            assert re.findall("`(.*?)`", files) == [
                name for role in edition.suffixes for name in edition.suffixes_of(role)
            ]
        assert [int(value) for value in re.findall(r"\d", labels)] == sorted(edition.tissues)[1:]
        shown = {name: values for name, *values in (re.findall(r"\w+", region) for region in regions.split(";"))}
        assert shown == {region.name: [str(int(tissue)) for tissue in region.tissues] for region in edition.regions}
