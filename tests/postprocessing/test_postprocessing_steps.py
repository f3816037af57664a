"""The steps after the thresholds: against brute force, in every order, and what they say they did."""

import csv
import json

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import painted
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from scipy import ndimage

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import write_json
from nnunet_resunet_ds.base.regions import ET, TC, WT
from nnunet_resunet_ds.cli import main
from postprocessing import PostprocessingConfig, postprocess
from postprocessing.case import postprocess_explained
from postprocessing.components import ComponentFilter
from postprocessing.model_config import config_of_model, config_of_predictions, keep_with_model
from postprocessing.morphology import Closing, Opening
from postprocessing.steps import USUAL_STEPS
from postprocessing.thresholds import apply_thresholds
from postprocessing.total_rule import TotalRule

REGIONS = {"WT": WT, "TC": TC, "ET": ET}
LEFT = {"WT": 0, "TC": 1, "ET": 2}
ENTERED = {"WT": 1, "TC": 2, "ET": 3}
OFF = PostprocessingConfig.preset("none")

labels = hnp.arrays(np.uint8, (7, 6, 8), elements=st.sampled_from([0, 0, 1, 1, 2, 3, 3, 4]))
probabilities = hnp.arrays(np.float32, (3, 7, 6, 8), elements=st.floats(0, 1, width=32))
names = st.sampled_from(["WT", "TC", "ET"])


@settings(max_examples=60)
@given(labels, probabilities, names, st.integers(0, 40), st.sampled_from([0.3, 0.6, 1.0]), st.sampled_from([6, 18, 26]))
def test_components_equal_brute_force(before, values, name, n_voxels, limit, connectivity):
    step = ComponentFilter(name, n_voxels, limit)
    expected = before.copy()
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    components, n = ndimage.label(REGIONS[name].mask(before), structure)
    for component in range(1, n + 1):
        where = components == component
        mean = np.float32(values[list(REGIONS).index(name)][where].mean(dtype=np.float64))
        if where.sum() < n_voxels and (mean < np.float32(limit) or limit == 1):
            expected[where] = LEFT[name]
    np.testing.assert_array_equal(step.apply(before, values, connectivity), expected)


@pytest.mark.parametrize(
    ("n_voxels", "limit", "value", "leaves"),
    [(8, 0.5, 0.4, False), (9, 0.5, 0.4, True), (9, 0.5, 0.5, False), (9, 1.0, 1.0, True), (9, 0.99, 1.0, False)],
)
def test_a_component_at_a_limit_stays_and_the_limit_1_is_above_all(n_voxels, limit, value, leaves):
    before = np.zeros((4, 4, 4), np.uint8)
    before[1:3, 1:3, 1:3] = 3
    after = ComponentFilter("ET", n_voxels, limit).apply(before, np.full((3, 4, 4, 4), value, np.float32), 6)
    assert set(after[before == 3]) == ({2} if leaves else {3})


def eroded(mask, radius):
    """Where a ball of this radius, counted along faces, fits: outside the volume nothing is."""
    padded = np.pad(mask, radius)
    result = np.ones_like(mask)
    for shift in np.ndindex(*[2 * radius + 1] * 3):
        if sum(abs(step - radius) for step in shift) <= radius:
            window = tuple(slice(step, step + size) for step, size in zip(shift, mask.shape, strict=True))
            result &= padded[window]
    return result


def dilated(mask, radius):
    wide = np.pad(mask, radius)
    return ~eroded(np.pad(~wide, radius, constant_values=True), radius)[(slice(radius, -radius or None),) * 3]


@settings(max_examples=40)
@given(labels, names, st.integers(1, 2))
def test_opening_equals_brute_force(before, name, radius):
    mask = REGIONS[name].mask(before)
    opened = dilated(eroded(mask, radius), radius)[(slice(radius, -radius),) * 3]
    expected = np.where(mask & ~opened, LEFT[name], before)
    np.testing.assert_array_equal(Opening(name, radius).apply(before, np.empty(0), 6), expected)


@settings(max_examples=40)
@given(labels, names, st.integers(1, 2))
def test_closing_equals_brute_force(before, name, radius):
    mask = REGIONS[name].mask(before)
    closed = eroded(dilated(mask, radius), radius)[(slice(radius, -radius),) * 3]
    expected = np.where(closed & (before == LEFT[name]), ENTERED[name], before)
    np.testing.assert_array_equal(Closing(name, radius).apply(before, np.empty(0), 6), expected)


@settings(max_examples=60)
@given(labels, probabilities, names, st.integers(0, 400), st.sampled_from([0.3, 0.5, 1.0]))
def test_the_total_rule_takes_all_or_nothing(before, values, name, n_voxels, limit):
    mask = REGIONS[name].mask(before)
    inside = values[list(REGIONS).index(name)][mask]
    goes = mask.any() and mask.sum() < n_voxels and (limit == 1 or np.float32(inside.mean(dtype=np.float64)) < limit)
    expected = np.where(mask & goes, LEFT[name], before)
    np.testing.assert_array_equal(TotalRule(name, n_voxels, limit).apply(before, values, 6), expected)


@settings(max_examples=40)
@given(labels, probabilities, st.permutations(USUAL_STEPS))
def test_steps_never_break_the_nesting_or_touch_further_regions(before, values, steps):
    after = before
    for step in steps:
        after = step.with_value(step.switches[0], 1).apply(after, values, 6)
    np.testing.assert_array_equal(after == 4, before == 4)
    assert set(np.unique(after)) <= {0, 1, 2, 3, 4}


def test_the_order_of_steps_is_the_user_s():
    """A speck of ET at the edge of a bridge: closing joins it to the rest before components are counted, or after."""
    values = np.zeros((3, 5, 5, 20), np.float32)
    values[:2] = 1
    values[2, 2, 2, 1:10] = values[2, 2, 2, 12] = 0.6
    values[2, 1:4, 1:4, 1:10] = 0.6
    values[2, 1:4, 1:4, 11] = 0.6
    closing, components = Closing("ET", 1), ComponentFilter("ET", 30, 0.9)
    kept = postprocess(values, PostprocessingConfig(steps=(closing, components)))
    lost = postprocess(values, PostprocessingConfig(steps=(components, closing)))
    assert kept[2, 2, 11] == 3 and lost[2, 2, 11] == 2
    assert (postprocess(values, PostprocessingConfig(steps=())) == apply_thresholds(values, OFF)).all()


@settings(max_examples=40)
@given(probabilities)
def test_the_preset_nnunet_does_what_nnunet_does(values):
    manager = LabelManager(
        {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}, [1, 2, 3]
    )
    expected = manager.convert_probabilities_to_segmentation(values)
    ours = postprocess(values, PostprocessingConfig.preset("nnunet"))
    decided = (values != 0.5).all(0)  # nnU-Net leaves a voxel at the threshold out
    np.testing.assert_array_equal(ours[decided], expected[decided])


def test_every_change_is_explained():
    values = np.zeros((3, 10, 10, 30), np.float32)
    values[:2, 2:8, 2:8, 2:28] = 0.8
    values[0, 0, 0, :5] = 0.7  # a stray WT component of 5
    values[2, 4:7, 4:7, 4:14] = 0.95  # ET of 90
    values[2, 4, 4, 20:23] = values[2, 6, 6, 20:24] = 0.5  # and two specks of 3 and 4
    config = PostprocessingConfig.paper().with_values(wt_component_voxels=10, wt_component_probability=0.9)
    after, changes = postprocess_explained(values, config)
    assert [(change.step, change.voxels, change.components) for change in changes] == [
        ("wt_components", 5, 1), ("et_components", 7, 2), ("et_total", 0, 0)
    ]  # fmt: skip
    assert changes[0].mean_probability == pytest.approx(0.7) and changes[1].mean_probability == pytest.approx(0.5)
    assert changes[2].mean_probability is None
    assert not after[0, 0].any() and (after == 3).sum() == 90


@settings(max_examples=30)
@given(probabilities, st.floats(0, 1), st.integers(0, 30))
def test_explaining_changes_nothing(values, wt, n_voxels):
    config = PostprocessingConfig(wt=wt).with_values(wt_component_voxels=n_voxels, tc_closing=1, et_opening=1)
    after, changes = postprocess_explained(values, config)
    np.testing.assert_array_equal(after, postprocess(values, config))
    wt_components = ["wt_components"] if n_voxels else []
    expected = ["et_opening", "tc_closing", *wt_components, "et_components", "et_total"]
    assert [change.step for change in changes] == expected


def test_the_command_writes_and_prints_what_it_changed(tmp_path, capsys):
    values = np.zeros((3, 6, 7, 8), np.float32)
    values[:2, 1:5, 1:5, 1:5] = 0.8
    values[2, 2, 2, 2:4] = 0.6
    for case, et in (("a", 1), ("b", 0)):
        folder = tmp_path / "in"
        folder.mkdir(exist_ok=True)
        of_case = values * np.array([1, 1, et], np.float32)[:, None, None, None]
        np.savez(folder / f"{case}.npz", probabilities=of_case)
        sitk.WriteImage(sitk.GetImageFromArray(painted(of_case)), str(folder / f"{case}.nii.gz"))
    assert main(["postprocess", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "et_components: changed 1 of 2 cases, 2 voxels in 1 component of mean probability 0.60" in said
    assert "et_total: changed 0 of 2 cases" in said
    with (tmp_path / "out" / "postprocessing_changes.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert rows[0] == {
        "case": "a", "step": "et_components", "voxels": "2", "components": "1", "mean_probability": "0.6000",
        "emptied": "ET",
    }  # fmt: skip
    assert len(rows) == 4 and rows[3]["mean_probability"] == ""


def test_settings_travel_with_a_model_and_with_its_predictions(tmp_path):
    write_json({"plans_name": "x"}, tmp_path / "plans.json")
    assert config_of_model(tmp_path) == PostprocessingConfig.paper()
    tuned = PostprocessingConfig(wt=0.55, averaging="logits", steps=(TotalRule("ET", 73, 0.9),))
    keep_with_model(tuned, tmp_path)
    assert config_of_model(tmp_path) == config_of_predictions(tmp_path) == tuned
    assert json.loads((tmp_path / "plans.json").read_text())["plans_name"] == "x"
    (tmp_path / "postprocessing.json").unlink()
    assert config_of_model(tmp_path) == tuned  # as after nnU-Net's export and import of a model
    write_json({"resunet_ds_postprocessing": {"wt": 3}}, tmp_path / "plans.json")
    with pytest.raises(InputError, match=r"plans\.json.*wt must be"):
        config_of_model(tmp_path)


@pytest.mark.parametrize(("run", "warned"), [(None, False), ({"average": "probabilities", "cases": {"a": {}}}, True)])
def test_post_processing_tuned_on_another_average_is_warned_about(tmp_path, capsys, run, warned):
    folder = tmp_path / "in"
    folder.mkdir()
    np.savez(folder / "a.npz", probabilities=np.zeros((3, 4, 4, 4), np.float32))
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4, 4), np.uint8)), str(folder / "a.nii.gz"))
    write_json({"resunet_ds_postprocessing": {"averaging": "logits"}}, folder / "plans.json")
    if run:
        write_json(run, folder / "run.json")
    assert main(["postprocess", "-i", str(folder), "-o", str(tmp_path / "out")]) == 0
    assert ("warning: tuned on an average of logits" in capsys.readouterr().err) == warned
