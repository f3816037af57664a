import json
import pickle
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import painted
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.cli import main
from postprocessing import FurtherRegion, PostprocessingConfig, postprocess
from postprocessing.components import ComponentFilter
from postprocessing.folder import postprocess_folder
from postprocessing.thresholds import apply_thresholds
from postprocessing.total_rule import TotalRule

PAPER = PostprocessingConfig.paper()
BACKGROUND, ED, NCR, ET, RC = range(5)


def apply_et_rules(labels, et, config):
    """The two steps of D10 alone, for probabilities of ET alone."""
    for step in config.with_steps(["et_components", "et_total"]).steps:
        labels = step.apply(labels, np.stack([et, et, et]), config.connectivity)
    return labels


def test_the_defaults_are_the_paper_s():
    assert (PAPER.wt, PAPER.tc, PAPER.et) == (0.45, 0.40, 0.45)  # D9
    assert PAPER.steps == (ComponentFilter("ET", 16, 0.9), TotalRule("ET", 73, 0.9))  # D10
    assert PAPER.connectivity == 6


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(
    ("wt", "tc", "et", "label"),
    [
        (0.44, 1, 1, BACKGROUND), (0.45, 0, 0, ED), (1, 0.39, 1, ED), (1, 0.40, 0, NCR),
        (1, 1, 0.44, NCR), (1, 1, 0.45, ET), (0, 1, 1, BACKGROUND), (0.45, 0.40, 0.45, ET),
    ],
)  # fmt: skip
def test_thresholds_are_nested_and_include_the_limit(wt, tc, et, label, dtype):
    voxel = np.array([wt, tc, et], dtype=dtype).reshape(3, 1, 1, 1)
    assert apply_thresholds(voxel, PAPER).item() == label  # D9


probabilities = hnp.arrays(np.float32, (3, 4, 4, 4), elements=st.floats(0, 1, width=32))


@settings(deadline=None)
@given(probabilities, st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_thresholds_equal_the_rule_voxel_by_voxel(values, wt, tc, et):
    config = PostprocessingConfig(wt=wt, tc=tc, et=et)
    limits = np.array([wt, tc, et], dtype=np.float32)
    labels = apply_thresholds(values, config)
    assert labels.dtype == np.uint8
    for index in np.ndindex(4, 4, 4):
        p_wt, p_tc, p_et = values[(slice(None), *index)]
        expected = BACKGROUND if p_wt < limits[0] else ED if p_tc < limits[1] else NCR if p_et < limits[2] else ET
        assert labels[index] == expected


def test_a_resection_cavity_is_painted_last():
    values = np.zeros((4, 1, 1, 3), dtype=np.float32)
    values[:3, ..., 0] = 1
    values[3] = [0.5, 0.5, 0.49]
    assert apply_thresholds(values, PAPER).ravel().tolist() == [RC, RC, BACKGROUND]


def test_further_regions_are_painted_in_order():
    config = PostprocessingConfig(further=(FurtherRegion(name="A", label=4), FurtherRegion(name="B", label=5)))
    values = np.zeros((5, 1, 1, 2), dtype=np.float32)
    values[3:] = [[[[0.9, 0.9]]], [[[0.6, 0.1]]]]
    assert apply_thresholds(values, config).ravel().tolist() == [5, 4]


def line_of_et(n, probability, dtype=np.float32):
    """A component of n voxels in tumour core, and its probabilities."""
    labels = np.full((5, 5, 100), NCR, dtype=np.uint8)
    labels[2, 2, :n] = ET
    return labels, np.where(labels == ET, probability, 0).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "probability", "kept"),
    [(15, 0.89, False), (15, 0.9, True), (15, 0.95, True), (16, 0.89, False), (72, 0.89, False), (73, 0.1, True)],
)
def test_small_uncertain_et_becomes_ncr(n, probability, kept, dtype):
    labels, et = line_of_et(n, probability, dtype)
    before = labels.copy()
    result = apply_et_rules(labels, et, PAPER)
    assert ((result == ET).sum() == n) == kept  # D10
    assert not kept or (result == labels).all()
    assert (labels == before).all()


def test_components_go_first_and_the_total_is_what_remains():
    """A certain component of 60 voxels and an uncertain one of 15: 75 together, 60 once the small one is gone."""
    labels, et = line_of_et(60, 0.95)
    labels[0, 0, :15], et[0, 0, :15] = ET, 0.5
    assert (apply_et_rules(labels, et, PAPER) == ET).sum() == 60
    et[2, 2, :60] = 0.8  # now the remaining 60 are uncertain, too: without the component rule they would be 75, kept
    assert (apply_et_rules(labels, et, PAPER) == ET).sum() == 0
    without = PAPER.with_values(et_component_voxels=0)
    assert (apply_et_rules(labels, et, without) == ET).sum() == 75


def test_components_meet_at_faces_only():
    labels = np.full((4, 4, 30), NCR, dtype=np.uint8)
    labels[0, 0, :10], labels[1, 1, 10:20] = ET, ET  # touching at an edge: two components of 10
    labels[3, 3, :] = ET
    et = np.where(labels == ET, 0.5, 0).astype(np.float32)
    et[3, 3] = 1
    rules = PAPER.with_values(et_total_voxels=0)
    assert (apply_et_rules(labels, et, rules) == ET).sum() == 30
    assert (apply_et_rules(labels, et, rules.with_values(connectivity=26)) == ET).sum() == 50


def brute_force_rules(labels, et, components_below, total_below, connectivity):
    """The rules of D10 with scipy's components and no cropping; a limit is (voxels, mean probability)."""
    labels = labels.copy()
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    components, n = ndimage.label(labels == ET, structure)
    for component in range(1, n + 1):
        where = components == component
        if where.sum() < components_below[0] and et[where].mean() < components_below[1]:
            labels[where] = NCR
    where = labels == ET
    if 0 < where.sum() < total_below[0] and et[where].mean() < total_below[1]:
        labels[where] = NCR
    return labels


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(np.uint8, (5, 6, 7), elements=st.sampled_from([0, 1, 2, 3, 3])),
    hnp.arrays(np.float64, (5, 6, 7), elements=st.floats(0, 1)),
    st.integers(0, 8),
    st.integers(0, 100),
    st.sampled_from([6, 18, 26]),
)
def test_the_rules_equal_brute_force(labels, et, component_voxels, total_voxels, connectivity):
    limits = (component_voxels, 0.6), (total_voxels, 0.5)
    steps = (ComponentFilter("ET", *limits[0]), TotalRule("ET", *limits[1]))
    config = PostprocessingConfig(steps=steps, connectivity=connectivity)
    expected = brute_force_rules(labels, et, *limits, connectivity)
    np.testing.assert_array_equal(apply_et_rules(labels, et, config), expected)


@settings(deadline=None, max_examples=30)
@given(probabilities)
def test_postprocessing_moves_enhancing_tumour_to_necrosis_and_nothing_else(values):
    before, after = apply_thresholds(values, PAPER), postprocess(values, PAPER)
    changed = before != after
    assert (before[changed] == ET).all() and (after[changed] == NCR).all()


@pytest.mark.parametrize("shape", [(2, 4, 4, 4), (5, 4, 4, 4), (3, 4, 4)])
def test_wrong_shapes_are_named(shape):
    with pytest.raises(InputError, match=r"\(R, Z, Y, X\)"):
        postprocess(np.zeros(shape, dtype=np.float32), PAPER)


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1, np.inf])
def test_values_that_are_no_probabilities_are_refused(value):
    values = np.full((3, 2, 2, 2), 0.5, dtype=np.float32)
    values[1, 0, 1, 0] = value
    with pytest.raises(InputError, match="finite and from 0 to 1"):
        postprocess(values, PAPER)


SHAPE = (6, 7, 8)


@pytest.fixture
def prediction(tmp_path):
    """A folder as nnUNetv2_predict --save_probabilities leaves it."""
    folder = tmp_path / "out"
    folder.mkdir()
    for case in ("a", "b"):
        values = np.random.default_rng(ord(case)).random((3, *SHAPE), dtype=np.float32)
        np.savez_compressed(folder / f"{case}.npz", probabilities=values)
        (folder / f"{case}.pkl").write_bytes(pickle.dumps({}))
        image = sitk.GetImageFromArray(painted(values))
        image.SetSpacing((1.0, 1.5, 2.0))
        image.SetOrigin((3.0, -239.0, 7.0))
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
        sitk.WriteImage(image, str(folder / f"{case}.nii.gz"))
    return folder


def test_a_folder_becomes_label_maps_with_the_stock_geometry(prediction, tmp_path, capsys):
    output = tmp_path / "labels"
    assert main(["postprocess", "-i", str(prediction), "-o", str(output), "--wt", "0.3"]) == 0
    config = PostprocessingConfig.from_json(output / "postprocessing.json")
    assert config == PostprocessingConfig(wt=0.3)
    for case in ("a", "b"):
        written, stock = (sitk.ReadImage(str(folder / f"{case}.nii.gz")) for folder in (output, prediction))
        for name in ("Size", "Spacing", "Origin", "Direction"):
            assert getattr(written, f"Get{name}")() == getattr(stock, f"Get{name}")()
        values = np.load(prediction / f"{case}.npz")["probabilities"]
        np.testing.assert_array_equal(sitk.GetArrayFromImage(written), postprocess(values, config))
    assert "wrote 2 label maps" in capsys.readouterr().out
    assert sorted(p.name for p in output.iterdir()) == [
        "a.nii.gz",
        "b.nii.gz",
        "postprocessing.json",
        "postprocessing_changes.csv",
        "run.json",
    ]


def test_a_folder_without_probabilities_says_what_is_needed(prediction, tmp_path, capsys):
    for file in prediction.glob("*.npz"):
        file.unlink()
    assert main(["postprocess", "-i", str(prediction), "-o", str(tmp_path / "labels")]) == 2
    error = capsys.readouterr().err
    assert "--save_probabilities" in error and len(error.splitlines()) == 1
    assert not (tmp_path / "labels").exists()


def broken(folder, how):
    file = folder / "a.npz"
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:-200])
    elif how == "not a zip":
        file.write_bytes(b"hello")
    elif how == "npy instead of npz":
        with file.open("wb") as stream:
            np.save(stream, np.zeros((3, *SHAPE)))
    elif how == "other key":
        np.savez(file, softmax=np.zeros((3, *SHAPE)))
    elif how == "integers":
        np.savez(file, probabilities=np.zeros((3, *SHAPE), dtype=int))
    elif how == "pickled":
        np.savez(file, probabilities=np.array([{}], dtype=object))
    elif how == "other shape":
        np.savez(file, probabilities=np.zeros((3, 5, 5, 5), dtype=np.float32))
    elif how == "nan":
        np.savez(file, probabilities=np.full((3, *SHAPE), np.nan, dtype=np.float32))
    elif how == "no label map":
        (folder / "a.nii.gz").unlink()


@pytest.mark.parametrize(
    "how",
    ["truncated", "not a zip", "npy instead of npz", "other key", "integers", "pickled", "other shape", "nan",
     "no label map"],
)  # fmt: skip
def test_a_broken_case_is_named_and_does_not_stop_the_others(prediction, tmp_path, how, bad_input):
    broken(prediction, how)
    with pytest.raises(InputError, match=r"out/a\.(.|\n)*1 case failed, 1 written") as raised:
        postprocess_folder(prediction, tmp_path / "labels", PAPER)
    bad_input("postprocess", how, str(raised.value))
    assert sorted(p.name for p in (tmp_path / "labels").iterdir()) == [
        "b.nii.gz",
        "postprocessing.json",
        "postprocessing_changes.csv",
        "run.json",
    ]


def test_label_maps_of_another_format_are_named_with_the_way_to_convert_them(prediction, tmp_path):
    sitk.WriteImage(sitk.ReadImage(str(prediction / "a.nii.gz")), str(prediction / "a.nrrd"))
    (prediction / "a.nii.gz").unlink()
    with pytest.raises(InputError, match=r"a\.nrrd: is an NRRD image, and only NIfTI(.|\n)*1 written"):
        postprocess_folder(prediction, tmp_path / "labels", PAPER)


def test_a_label_map_that_is_not_compressed_is_found(prediction, tmp_path):
    """As ``predict -o a.nii`` writes it."""
    sitk.WriteImage(sitk.ReadImage(str(prediction / "a.nii.gz")), str(prediction / "a.nii"))
    (prediction / "a.nii.gz").unlink()
    assert set(postprocess_folder(prediction, tmp_path / "labels", PAPER)) == {"a", "b"}
    assert (tmp_path / "labels" / "a.nii.gz").is_file()
    (prediction / "a.npz").unlink()
    with pytest.raises(InputError, match=r"a\.nii: has no probabilities"):
        postprocess_folder(prediction, tmp_path / "again", PAPER)


def test_changes_that_cannot_be_read_are_left_out_of_the_table(prediction, tmp_path):
    """Of a label map that another version, or a hand, has noted; they are not what the output is made of."""
    output = tmp_path / "labels"
    postprocess_folder(prediction, output, PAPER)
    run = json.loads((output / "run.json").read_text())
    run["cases"]["b"]["changes"] = [{"step": "et_components", "what": "unknown"}]
    (output / "run.json").write_text(json.dumps(run))
    for file in prediction.glob("b.*"):
        file.unlink()
    postprocess_folder(prediction, output, PAPER)
    table = (output / "postprocessing_changes.csv").read_text()
    assert "\na," in table and "\nb," not in table


def test_label_maps_without_probabilities_are_named(prediction, tmp_path):
    (prediction / "a.npz").unlink()
    with pytest.raises(InputError, match=r"a\.nii\.gz: has no probabilities"):
        postprocess_folder(prediction, tmp_path / "labels", PAPER)
    assert json.loads((tmp_path / "labels" / "run.json").read_text())["unmade"] == ["a"]


def test_predictions_of_plain_labels_are_refused(prediction, tmp_path):
    """Of a softmax model, whose first channel is the background."""
    (prediction / "dataset.json").write_text('{"labels": {"background": 0, "ED": 1, "NCR": 2, "ET": 3}}')
    with pytest.raises(InputError, match="plain labels"):
        postprocess_folder(prediction, tmp_path / "labels", PAPER)


def test_thresholds_of_numpy_compare_like_python_s():
    voxel = np.array([0.45, 0.4, 0.45], dtype=np.float32).reshape(3, 1, 1, 1)
    config = PostprocessingConfig(wt=np.float64(0.45), tc=np.float64(0.4), et=np.float64(0.45))
    assert apply_thresholds(voxel, config).item() == ET


@pytest.mark.parametrize("shape", [(3, 0, 4, 4), (3, 4, 4, 0)])
def test_an_empty_volume_stays_empty(shape):
    assert postprocess(np.zeros(shape, dtype=np.float32), PAPER).shape == shape[1:]


def test_the_output_must_not_overwrite_the_input(prediction):
    with pytest.raises(InputError, match="overwrite"):
        postprocess_folder(prediction, prediction, PAPER)


def test_a_missing_folder_is_named(tmp_path):
    shutil.rmtree(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        postprocess_folder(tmp_path, tmp_path / "labels", PAPER)
