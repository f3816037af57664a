"""Hysteresis, filters by mean and peak, holes, largest components and sizes in mm³: against brute force."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import painted, values_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.regions import ET, TC, WT
from nnunet_resunet_ds.cli import main
from postprocessing import PostprocessingConfig, postprocess
from postprocessing.case import postprocess_explained
from postprocessing.components import ComponentFilter, Hysteresis, LargestComponents, MeanFilter, PeakFilter
from postprocessing.morphology import FillHoles
from postprocessing.steps import USUAL_STEPS
from postprocessing.thresholds import apply_thresholds
from postprocessing.total_rule import TotalRule

REGIONS = {"WT": WT, "TC": TC, "ET": ET}
LEFT = {"WT": 0, "TC": 1, "ET": 2}
ENTERED = {"WT": 1, "TC": 2, "ET": 3}
OFF = PostprocessingConfig.preset("none")
STRUCTURES = {6: 1, 18: 2, 26: 3}

labels = hnp.arrays(np.uint8, (7, 6, 8), elements=st.sampled_from([0, 0, 1, 1, 2, 3, 3, 4]))
probabilities = hnp.arrays(np.float32, (3, 7, 6, 8), elements=st.floats(0, 1, width=32))
levels = hnp.arrays(np.float32, (3, 7, 6, 8), elements=st.sampled_from(np.float32([0, 0.2, 0.4, 0.5, 0.7, 0.9])))
names = st.sampled_from(["WT", "TC", "ET"])
connectivities = st.sampled_from([6, 18, 26])
limits = st.sampled_from([0.3, 0.5, 0.7, 0.9])


def parts(mask, connectivity):
    """Masks of the connected components, one by one."""
    numbers, n = ndimage.label(mask, ndimage.generate_binary_structure(3, STRUCTURES[connectivity]))
    return [numbers == number for number in range(1, n + 1)]


def channel(values, name):
    return values[list(REGIONS).index(name)]


# ---- each step alone ----


@settings(max_examples=60)
@given(labels, levels, names, limits, connectivities, st.sampled_from([(MeanFilter, np.mean), (PeakFilter, np.max)]))
def test_filters_by_mean_and_peak(before, values, name, limit, connectivity, kind):
    step, measure = kind
    expected = before.copy()
    for part in parts(REGIONS[name].mask(before), connectivity):
        inside = channel(values, name)[part].astype(np.float64)
        if np.float32(measure(inside)) < np.float32(limit):
            expected[part] = LEFT[name]
    np.testing.assert_array_equal(step(name, limit).apply(before, values, connectivity), expected)


@settings(max_examples=60)
@given(labels, levels, names, limits, limits, connectivities)
def test_hysteresis_keeps_components_of_what_is_low_that_reach_what_is_high(
    before, values, name, low, high, connectivity
):
    region = REGIONS[name].mask(before)
    around = before == LEFT[name]
    probability = channel(values, name)
    expected = np.where(region, LEFT[name], before)
    for part in parts((region | around) & (probability >= np.float32(low)), connectivity):
        if probability[part].max() >= np.float32(high):
            expected[part] = np.where(region, before, ENTERED[name])[part]
    np.testing.assert_array_equal(Hysteresis(name, low, high).apply(before, values, connectivity), expected)


@settings(max_examples=60)
@given(labels, names, st.integers(1, 30))
def test_small_holes_are_filled(before, name, n_voxels):
    region = REGIONS[name].mask(before)
    holes = ndimage.binary_fill_holes(region) & ~region
    expected = before.copy()
    for hole in parts(holes, 6):
        if hole.sum() <= n_voxels:
            expected[hole & (before == LEFT[name])] = ENTERED[name]
    np.testing.assert_array_equal(FillHoles(name, n_voxels).apply(before, np.empty(0), 6), expected)


def test_a_tunnel_to_the_border_is_no_hole():
    before = np.zeros((5, 5, 5), np.uint8)
    before[:] = 1
    before[2, 2, 2] = 0
    assert (FillHoles("WT", 1).apply(before, np.empty(0), 6) == 1).all()
    before[2, 2, :] = 0
    np.testing.assert_array_equal(FillHoles("WT", 99).apply(before, np.empty(0), 6), before)


@settings(max_examples=60)
@given(labels, names, st.integers(1, 4), connectivities)
def test_the_largest_components_stay(before, name, count, connectivity):
    found = parts(REGIONS[name].mask(before), connectivity)
    sizes = sorted((part.sum() for part in found), reverse=True)
    expected = before.copy()
    for part in found:
        if sum(size > part.sum() for size in sizes) >= count:
            expected[part] = LEFT[name]
    values = np.zeros((3, *before.shape), np.float32)
    np.testing.assert_array_equal(LargestComponents(name, count).apply(before, values, connectivity), expected)


# ---- sizes in mm³ ----


@settings(max_examples=60)
@given(labels, names, st.integers(0, 30), st.floats(0, 60), st.sampled_from([1.0, 0.1, 1.5, 0.86 * 0.86 * 1.5]))
def test_a_size_in_mm3_counts_as_one_in_voxels(before, name, n_voxels, mm3, volume):
    """The larger of the two limits counts."""
    values = np.zeros((3, *before.shape), np.float32)
    in_mm3 = ComponentFilter(name, n_voxels, 1.0, mm3)
    expected = before.copy()
    for part in parts(REGIONS[name].mask(before), 6):
        if part.sum() < n_voxels or part.sum() * volume < mm3 - 1e-4:
            expected[part] = LEFT[name]
    np.testing.assert_array_equal(in_mm3.apply(before, values, 6, volume), expected)


def test_a_size_at_the_limit_stays_although_the_header_has_rounded_the_spacing():
    before = np.zeros((4, 4, 4), np.uint8)
    before[1, 1, :2] = 3
    values = np.zeros((3, 4, 4, 4), np.float32)
    volume = float(np.prod(np.float32([0.9, 0.9, 2.0]), dtype=np.float64))  # just below 1.62
    for step in (ComponentFilter, TotalRule):
        assert (step("ET", 0, 1.0, 3.24).apply(before, values, 6, volume) == before).all()
        assert not (step("ET", 0, 1.0, 3.25).apply(before, values, 6, volume) == 3).any()


def test_a_size_in_mm3_without_a_volume_is_refused():
    config = OFF.with_values(et_total_mm3=100)
    values = np.zeros((3, 4, 4, 4), np.float32)
    with pytest.raises(InputError, match="et_total: a size in mm³ needs voxel_volume"):
        postprocess(values, config)
    postprocess(values, config, 1.0)


# ---- together ----


@settings(max_examples=40)
@given(labels, probabilities, st.permutations(USUAL_STEPS), st.sampled_from([0.3, 0.6, 1.0]))
def test_no_step_makes_another_label_or_touches_further_regions(before, values, steps, share):
    """Labels are one of four tissues, so the nesting holds by construction; label 4 is of a further region."""
    after = before
    for step in steps:
        most = min(2, step.numbers[step.switches[0]].at_most)
        after = step.with_value(step.switches[0], type(most)(most * share) or most).apply(after, values, 6, 1.0)
    np.testing.assert_array_equal(after == 4, before == 4)
    assert set(np.unique(after)) <= {0, 1, 2, 3, 4}


@settings(max_examples=40)
@given(levels, limits, limits, connectivities)
def test_hysteresis_of_wt_grows_beyond_the_box_of_the_tumour(values, low, high, connectivity):
    """The box that steps work in has to hold what may become tumour: the same as without a box."""
    config = PostprocessingConfig(
        wt=0.95, tc=0.5, et=0.5, connectivity=connectivity, steps=(Hysteresis("WT", low, high),)
    )
    expected = config.steps[0].apply(apply_thresholds(values, config), values, connectivity)
    np.testing.assert_array_equal(postprocess(values, config), expected)


def test_what_the_further_steps_did_is_explained():
    values = np.zeros((3, 10, 10, 30), np.float32)
    values[0, 2:8, 2:8, 2:12] = 0.8
    values[0, 2:8, 2:8, 12:15] = 0.35  # joined to the tumour, below the threshold
    values[0, 0, 0, 20:25] = 0.6  # a stray component whose peak is low
    config = OFF.with_values(wt_hysteresis_low=0.3, wt_hysteresis_high=0.7)
    after, changes = postprocess_explained(values, config)
    assert [(change.step, change.voxels, change.components) for change in changes] == [("wt_hysteresis", 113, 2)]
    assert (after > 0).sum() == 6 * 6 * 13 and not after[0].any()


def test_the_command_takes_their_flags_and_the_spacing_of_the_images(tmp_path, capsys):
    """Two components of ET, of 2 and 8 voxels of 1.5 mm³: 3 and 12 mm³."""
    folder = tmp_path / "in"
    folder.mkdir()
    values = np.zeros((3, 6, 7, 8), np.float32)
    values[:2, 1:5, 1:6, 1:7] = 0.8
    values[2, 1, 1, 1:3] = values[2, 3:5, 3:5, 4:6] = 0.6
    np.savez(folder / "a.npz", probabilities=values)
    image = sitk.GetImageFromArray(painted(values))
    image.SetSpacing((1.0, 1.0, 1.5))
    sitk.WriteImage(image, str(folder / "a.nii.gz"))
    flags = ("--preset", "none", "--et-component-mm3", "5", "--wt-peak", "0.5")
    assert main(["postprocess", "-i", str(folder), "-o", str(tmp_path / "out"), *flags]) == 0
    said = capsys.readouterr().out
    assert "et_components: changed 1 of 1 case, 2 voxels" in said and "wt_peak: changed 0 of 1 case" in said
    assert (values_of(tmp_path / "out" / "a.nii.gz") == 3).sum() == 8
    stored = json.loads((tmp_path / "out" / "postprocessing.json").read_text())
    assert stored["steps"][0] == {"step": "components", "region": "ET", "voxels": 0, "probability": 0.9, "mm3": 5.0}
