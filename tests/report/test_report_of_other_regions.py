"""Reports on datasets of other channels and regions than BraTS' glioma, and on cases that lack a sequence."""

import json

import numpy as np
import pytest
from brats_files import CASES, values_of, write
from models import predict
from region_datasets import APART, KINDS, RADIOTHERAPY, SHAPE, write_region_model, write_trained
from test_report import data_of, run, volume_of

from dataset_conversion.editions import EDITIONS
from dataset_conversion.label_conventions import LabelConvention, nnunet_convention
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.evaluation.protocols import DEFAULT, PROTOCOLS
from nnunet_resunet_ds.report.default_protocol import default_protocol, protocol_of
from nnunet_resunet_ds.report.pictures import make_pictures
from nnunet_resunet_ds.report.remarks import flags, read_prediction_notes

REGIONS = {"one region": {"GTV": [1]}, "two regions": {"cyst": [1, 2], "vessel": [3]}}
"""As the report names them."""


@pytest.fixture(params=KINDS)
def predicted(request, dataset, nnunet_folders, tmp_path):
    """A dataset, its kind, and predictions of its training images with probabilities."""
    kind = KINDS[request.param]
    model, ids = write_trained(nnunet_folders, dataset[0], kind)
    raw = nnunet_folders / "nnUNet_raw" / dataset[0]["dataset_name"]
    assert predict(raw / "imagesTr", tmp_path / "out", model, "--save-probabilities") == 0
    return raw, tmp_path / "out", ids, REGIONS[request.param]


def dice_by_hand(reference, prediction):
    return 2 * (reference & prediction).sum() / (reference.sum() + prediction.sum())


def test_the_regions_of_the_dataset_are_scored_and_shown(predicted, tmp_path):
    raw, labels, ids, regions = predicted
    page = tmp_path / "report.html"
    assert run("-i", raw / "imagesTr", "-pred", labels, "-ref", raw / "labelsTr", "-o", page) == 0
    data = data_of(page)
    assert {region["name"]: region["labels"] for region in data["regions"]} == regions
    assert len({region["colour"] for region in data["regions"]}) == len(regions)
    for case in data["cases"]:
        maps = [values_of(folder / f"{case['name']}.nii.gz") for folder in (raw / "labelsTr", labels)]
        for region, values in regions.items():
            masks = [np.isin(each, values) for each in maps]
            assert case["values"][region]["dice"] == pytest.approx(dice_by_hand(*masks))
            assert case["values"][region]["volume"] == pytest.approx(masks[1].sum() / 1000)
    channels = json.loads((raw / "dataset.json").read_text())["channel_names"].values()
    number = [case["name"] for case in data["cases"]].index(ids[0])
    pictures = data_of(page, f"pictures-{number}")
    assert list(pictures["images"]) == list(channels)
    shown = volume_of(pictures["labels"]["prediction"], pictures)
    np.testing.assert_array_equal(shown // pictures["label_step"], values_of(labels / f"{ids[0]}.nii.gz"))


def test_without_reference_there_are_volumes_and_confidences_of_these_regions(predicted, tmp_path):
    raw, labels, ids, regions = predicted
    run_json = json.loads((labels / "run.json").read_text())
    noted = run_json["cases"][ids[0]]["mean_probability"]
    del run_json["cases"][ids[0]]["mean_probability"]
    (labels / "run.json").write_text(json.dumps(run_json))
    page = tmp_path / "report.html"
    assert run("-i", raw / "imagesTr", "-pred", labels, "-o", page) == 0
    data = data_of(page)
    case = next(case for case in data["cases"] if case["name"] == ids[0])
    assert list(case["values"]) == list(regions)
    low = {name: value for name, value in noted.items() if value < 0.8}
    for name, value in low.items():  # from CASE.npz, as predict had noted it
        assert f"low confidence: {name} has mean probability {value:.2f}" in case["flags"]
    assert low and not any("enhancing" in flag for each in data["cases"] for flag in each["flags"])


def test_another_protocol_may_be_named_and_must_have_the_labels(predicted, tmp_path, capsys):
    raw, labels, _, regions = predicted
    page = tmp_path / "report.html"
    arguments = ("-i", raw / "imagesTr", "-pred", labels, "-o", page, "--protocol")
    assert run(*arguments, "brats2023-gli") == 2
    assert "have no counterpart in BraTS 2023 GLI" in capsys.readouterr().err
    assert run(*arguments, "brats2024-menrt") == (0 if "GTV" in regions else 2)


def test_the_protocol_is_chosen_by_what_the_labels_mean():
    assert default_protocol(None).name == DEFAULT
    assert default_protocol(LabelConvention.of(EDITIONS["2021"])).name == DEFAULT
    of_radiotherapy = default_protocol(nnunet_convention(RADIOTHERAPY.dataset_json))
    assert list(of_radiotherapy.regions) == ["GTV"] and of_radiotherapy.name == "brats2025-menrt"
    apart = nnunet_convention(APART.dataset_json)
    assert default_protocol(apart) == protocol_of(apart.regions)
    assert protocol_of(apart.regions).metrics[:2] == ("dice", "hd95")


def test_what_is_not_there_is_named_as_the_dataset_names_it():
    nothing = np.zeros((4, 4, 4), np.uint8)
    assert flags(nothing, protocol_of({"cyst": [1]}), 1.0, {}) == ["no cyst predicted"]
    assert flags(nothing, PROTOCOLS["brats2024-menrt"], 1.0, {}) == ["no tumour predicted"]


@pytest.mark.parametrize(("largest", "step"), [(4, 60), (5, 51), (255, 1)])
def test_many_labels_are_told_apart_by_less(largest, step):
    labels = np.zeros((3, 4, 5), np.uint16)
    labels[1, 1], labels[2, 2] = largest, largest - 1
    pictures = make_pictures({"T1": np.ones(labels.shape)}, {"prediction": labels}, {}, (1, 1, 1))
    assert pictures.label_step == step
    content = {"shape": pictures.shape, "columns": pictures.columns}
    np.testing.assert_array_equal(volume_of(pictures.labels["prediction"], content) // step, labels)
    with pytest.raises(InputError, match="the label 256"):
        make_pictures({}, {"prediction": labels + np.uint16(256 - largest)}, {}, (1, 1, 1))


# ---- absent sequences ----


@pytest.fixture
def without_t2(cohort, model, tmp_path):
    """Predictions of which the first case lacked T2."""
    (cohort / CASES[0] / f"{CASES[0]}_t2.nii.gz").unlink()
    assert predict(cohort, tmp_path / "out", model, "--allow-missing", "T2") == 0
    return cohort, tmp_path / "out"


def test_a_case_is_shown_with_the_sequences_that_it_had(without_t2, tmp_path):
    cohort, labels = without_t2
    page = tmp_path / "report.html"
    assert read_prediction_notes(labels).absent == {CASES[0]: ["T2"]}
    assert run("-i", cohort, "-pred", labels, "-ref", cohort, "-o", page) == 0
    for number, case in enumerate(data_of(page)["cases"]):
        shown = set(data_of(page, f"pictures-{number}")["images"])
        assert shown == {"T1", "T1ce", "T2", "FLAIR"} - ({"T2"} if case["name"] == CASES[0] else set())


def test_what_was_lost_since_the_prediction_is_named(without_t2, tmp_path, capsys):
    """The first case lacked T2 and has it now; the second had it, and lacks it now."""
    cohort, labels = without_t2
    files = [cohort / case / f"{case}_t2.nii.gz" for case in CASES]
    files[1].rename(files[0])
    assert run("-i", cohort, "-pred", labels, "-o", tmp_path / "report.html") == 2
    assert f"{CASES[1]} has no T2" in capsys.readouterr().err
    files[0].rename(files[1])
    (cohort / CASES[1] / f"{CASES[1]}_flair.nii.gz").unlink()
    assert run("-i", cohort, "-pred", labels, "-o", tmp_path / "report.html") == 2
    assert f"{CASES[1]}_flair.nii.gz: missing" in capsys.readouterr().err


def test_what_its_conversion_left_without_a_sequence_needs_no_note_of_a_prediction(tmp_path):
    """As where nnUNetv2_predict made the label maps."""
    dataset = tmp_path / "Dataset001_X"
    for channel, value in enumerate((7, 0)):
        write(dataset / "imagesTs" / f"a_{channel:04d}.nii.gz", np.full(SHAPE, value, np.int16))
    write(tmp_path / "out" / "a.nii.gz", np.ones(SHAPE, np.uint8))
    for folder in (dataset, tmp_path / "out"):
        (folder / "dataset.json").write_text(json.dumps(APART.dataset_json))
    arguments = ("-i", dataset / "imagesTs", "-pred", tmp_path / "out", "-o", tmp_path / "report.html")
    assert run(*arguments) == 2
    (dataset / "conversion.json").write_text(json.dumps({"cases": {"a": {"absent": ["FLAIR"]}}}))
    assert run(*arguments) == 0
    assert set(data_of(tmp_path / "report.html", "pictures-0")["images"]) == {"T1ce"}


def test_zeros_of_a_dataset_are_no_picture(dataset, tmp_path):
    """Images as ``convert --allow-missing`` writes them."""
    kind = APART
    model = write_region_model(tmp_path / "model", dataset[0], kind)
    images, labels = tmp_path / "images", tmp_path / "out"
    write(images / "a_0000.nii.gz", np.full(SHAPE, 7, np.int16))
    write(images / "a_0001.nii.gz", np.zeros(SHAPE, np.int16))
    assert predict(images, labels, model, "--allow-missing", "FLAIR") == 0
    (tmp_path / "dataset.json").write_text(json.dumps(kind.dataset_json))
    assert run("-i", images, "-pred", labels, "-o", tmp_path / "report.html") == 0
    assert set(data_of(tmp_path / "report.html", "pictures-0")["images"]) == {"T1ce"}
