"""Where false and missed lesions are: as many as the metrics count, at voxels of theirs, with volume and peak."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnunet_resunet_ds.base.files import write_json
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.evaluation.case_metrics import compare_labels
from nnunet_resunet_ds.evaluation.metrics_file import read_metrics
from nnunet_resunet_ds.evaluation.protocols import protocol_named

volumes = hnp.arrays(np.uint8, (12, 9, 14), elements=st.sampled_from([0] * 14 + [1, 2, 3]))
PROTOCOLS = ["brats2023-gli", "brats2023-met", "brats2024-gli", "brats2025-met", "brats2026-met", "brats2026-ped"]
CASE = "BraTS-GLI-00001-000"


@settings(max_examples=40)
@given(volumes, volumes, st.sampled_from(PROTOCOLS), st.sampled_from([(1.0, 1.0, 1.0), (3.0, 4.0, 5.0)]))
def test_as_many_as_the_metrics_count_and_each_where_it_is(reference, prediction, name, spacing):
    protocol = protocol_named(name)
    metrics, lesions = compare_labels(reference, prediction, spacing, protocol)
    found = [(lesion.region, lesion.kind) for lesion in lesions]
    for region, scores in metrics.items():
        assert found.count((region, "false")) == scores["n_fp"]
        assert found.count((region, "missed")) == scores["n_fn"]
    for lesion in lesions:
        labels = reference if lesion.kind == "missed" else prediction
        other = prediction if lesion.kind == "missed" else reference
        values = set(protocol.regions[lesion.region].labels)
        assert set(labels[tuple(lesion.voxels.T)].tolist()) <= values
        if name.startswith("brats2023"):  # later, small predictions are left out, or a lesion has no partner left
            assert not values & set(other[tuple(lesion.voxels.T)].tolist())
    assert [len(lesion.voxels) for lesion in lesions] == sorted((len(le.voxels) for le in lesions), reverse=True)


def test_a_protocol_without_lesions_has_none():
    labels = np.ones((4, 4, 4), np.uint8)
    assert compare_labels(labels, labels * 0, (1.0, 1.0, 1.0), protocol_named("brats2021"))[1] == []


@pytest.fixture
def folders(tmp_path):
    """One lesion found, one missed, one false, on an anisotropic grid of another orientation, with probabilities."""
    shape = (30, 40, 50)  # z, y, x
    reference, prediction = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    reference[2:8, 2:8, 2:8] = prediction[2:8, 2:8, 2:8] = 1
    reference[20:25, 30:35, 10:13] = 1
    prediction[20:24, 5:9, 40:44] = 1
    probabilities = np.full((3, *shape), 0.01, np.float32)
    probabilities[0][prediction == 1] = 0.7
    probabilities[0, 21, 6, 41] = 0.875
    probabilities[0, 22, 32, 11] = 0.375
    for name, values in (("reference", reference), ("prediction", prediction)):
        (tmp_path / name).mkdir()
        image = sitk.GetImageFromArray(values)
        image.SetSpacing((1.0, 2.0, 3.0))
        image.SetOrigin((-10.0, 20.0, 5.0))
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
        sitk.WriteImage(image, str(tmp_path / name / f"{CASE}.nii.gz"))
        write_json({"labels": "nnunet", "cases": {CASE: {"file": f"{CASE}.nii.gz"}}}, tmp_path / name / "run.json")
    np.savez(tmp_path / "prediction" / f"{CASE}.npz", probabilities=probabilities)
    return tmp_path


def evaluate(folder, *flags):
    arguments = ["evaluate", "-ref", str(folder / "reference"), "-pred", str(folder / "prediction")]
    return main([*arguments, "-o", str(folder / "metrics.json"), "--lesions", str(folder / "lesions.csv"), *flags])


def test_the_table_names_place_volume_and_peak(folders):
    assert evaluate(folders) == 0
    with (folders / "lesions.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["region"] == "WT"]
    missed, false = rows  # 75 voxels of 6 mm³, and 64: the largest first
    assert (missed["case"], missed["kind"], missed["x"], missed["y"], missed["z"]) == (CASE, "missed", "11", "32", "22")
    assert float(missed["volume"]) == 450 and float(missed["peak_probability"]) == 0.375
    assert [float(missed[name]) for name in ("left_mm", "back_mm", "up_mm")] == [-10 - 11, 20 - 2 * 32, 5 + 3 * 22]
    assert false["kind"] == "false" and float(false["volume"]) == 384 and float(false["peak_probability"]) == 0.875
    assert 40 <= int(false["x"]) < 44 and 5 <= int(false["y"]) < 9 and 20 <= int(false["z"]) < 24
    stored = read_metrics(folders / "metrics.json").lesions()[CASE]
    assert [(lesion.region, lesion.kind) for lesion in stored if lesion.region == "WT"] == [
        ("WT", "missed"), ("WT", "false")
    ]  # fmt: skip


def test_without_readable_probabilities_there_is_no_peak(folders, capsys):
    (folders / "prediction" / f"{CASE}.npz").write_bytes(b"damaged")
    assert evaluate(folders) == 0
    assert "the peak probabilities of its lesions are left out" in capsys.readouterr().err
    assert all(lesion.peak_probability is None for lesion in read_metrics(folders / "metrics.json").lesions()[CASE])


@pytest.mark.parametrize("noted", [False, True])
def test_probabilities_of_another_prediction_are_not_its_peaks(folders, capsys, noted):
    """Where run.json notes that both were written together, they are its own, whatever post-processing has painted."""
    file = folders / "prediction" / f"{CASE}.npz"
    with np.load(file) as arrays:
        np.savez(file, probabilities=np.maximum(arrays["probabilities"] - 0.3, 0))
    case = {"file": f"{CASE}.nii.gz", "with_probabilities": noted}
    write_json({"labels": "nnunet", "cases": {CASE: case}}, folders / "prediction" / "run.json")
    assert evaluate(folders) == 0
    assert ("is not of the label map next to it" in capsys.readouterr().err) is not noted
    peaks = {
        lesion.peak_probability
        for lesion in read_metrics(folders / "metrics.json").lesions()[CASE]
        if lesion.region == "WT"
    }
    assert peaks == ({np.float32(0.875) - np.float32(0.3), np.float32(0.375) - np.float32(0.3)} if noted else {None})


def test_metrics_of_an_earlier_version_have_no_lesions_and_damaged_ones_are_named(folders, capsys):
    assert evaluate(folders) == 0
    file = folders / "metrics.json"
    content = json.loads(file.read_text())
    del content["unmatched_lesions"]
    write_json(content, file)
    assert read_metrics(file).lesions() == {}
    write_json({**content, "unmatched_lesions": {CASE: [{"region": 3}]}}, file)
    page = ["report", "-i", str(folders), "-pred", str(folders / "prediction"), "--metrics", str(file)]
    assert main([*page, "-o", str(folders / "page.html")]) == 2
    assert '"unmatched_lesions" is not what resunet-ds evaluate writes' in capsys.readouterr().err
