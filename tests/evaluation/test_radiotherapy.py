"""MEN-RT: one region of one value, whose 1 is no other dataset's 1."""

import json

import numpy as np
import pytest
from brats_files import write

from dataset_conversion.label_conventions import CONVENTIONS
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.evaluation import evaluate
from nnunet_resunet_ds.evaluation.label_maps import find_label_maps, to_protocol
from nnunet_resunet_ds.evaluation.protocols import PROTOCOLS

CASE = "BraTS-MEN-RT-0001-1"
GTV = {"labels": {"background": 0, "gross tumor volume": [1, 1]}, "regions_class_order": [1]}
GLIOMA = {
    "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]},
    "regions_class_order": [1, 2, 3],
}
LABELS = np.zeros((9, 9, 9), np.uint8)
LABELS[2:7, 2:7, 2:6] = 1  # 100 mm³: up to 50 are left out


@pytest.fixture
def folders(tmp_path):
    """A reference as released, and the same as a prediction in a folder of its own."""
    write(tmp_path / "ref" / CASE / f"{CASE}_gtv.nii.gz", LABELS)
    write(tmp_path / "pred" / f"{CASE}.nii.gz", LABELS)
    return tmp_path / "ref", tmp_path / "pred"


def run(folders, *arguments):
    return main(["evaluate", "-ref", str(folders[0]), "-pred", str(folders[1]), *arguments])


@pytest.mark.parametrize("protocol", ["brats2024-menrt", "brats2025-menrt"])
@pytest.mark.parametrize(
    "declared",
    [
        {},
        {"dataset.json": GTV},
        {"dataset.json": {**GTV, "labels": {"background": 0, "GTV": [1, 1]}}},
        {"run.json": {"labels": "nnunet", "regions": {"gross tumor volume": [1]}, "cases": {CASE: {}}}},
        {"run.json": {"labels": "menrt", "cases": {CASE: {}}}},
    ],
)
def test_predictions_of_a_model_of_gtv_need_no_more_than_the_protocol(folders, protocol, declared):
    for file, content in declared.items():
        (folders[1] / file).write_text(json.dumps(content))
    assert evaluate(*folders, protocol).cases[CASE]["GTV"]["dice"] == 1


@pytest.mark.parametrize(
    "declared",
    [
        {"dataset.json": GLIOMA},
        {"run.json": {"labels": "nnunet", "cases": {CASE: {}}}},
        {"run.json": {"labels": "2023-gli", "cases": {CASE: {}}}},
        {"run.json": {"labels": "nnunet", "regions": {"lesion": [1]}, "cases": {CASE: {}}}},
    ],
)
def test_label_maps_of_other_data_are_refused(folders, declared, capsys):
    """Their 1 is oedema, or necrosis, or something that BraTS does not have."""
    for file, content in declared.items():
        (folders[1] / file).write_text(json.dumps(content))
    assert run(folders, "--protocol", "brats2025-menrt") == 2
    assert "label values 1 as of" in capsys.readouterr().err


def test_label_maps_of_gtv_are_refused_by_other_protocols(folders, capsys):
    assert run(folders, "--protocol", "brats2023-gli") == 2
    assert "have no counterpart in BraTS 2023 GLI" in capsys.readouterr().err


@pytest.mark.parametrize("name", [key for key in CONVENTIONS if key != "menrt"])
def test_no_value_of_another_convention_is_a_gtv(name, tmp_path):
    for value in set(CONVENTIONS[name].tissues) - {0}:
        with pytest.raises(InputError, match="no counterpart"):
            to_protocol(np.array([value]), CONVENTIONS[name], PROTOCOLS["brats2025-menrt"], tmp_path)


def test_a_release_is_found_by_its_names(folders):
    maps = find_label_maps(folders[0])
    assert maps.labels == "menrt" and list(maps.files) == [CASE]


def test_editions_whose_values_agree_need_no_name(tmp_path):
    """MET until 2024 has the values 1 to 3, and since 2025 a fourth; PED changed what 1, 3 and 4 mean."""
    write(tmp_path / "met" / "BraTS-MET-00001-000-seg.nii.gz", LABELS)
    assert (
        CONVENTIONS[find_label_maps(tmp_path / "met").labels].tissues.items() >= CONVENTIONS["2023-met"].tissues.items()
    )
    write(tmp_path / "ped" / "BraTS-PED-00001-000-seg.nii.gz", LABELS)
    with pytest.raises(InputError, match="--ref-labels"):
        find_label_maps(tmp_path / "ped")
