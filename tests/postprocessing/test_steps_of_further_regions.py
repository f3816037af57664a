"""Steps of regions other than WT, TC and ET: against brute force, together with others, in files and in flags."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from test_settings_of_other_regions import APART, CAVITY, GTV, RADIOTHERAPY, TUMOUR, predictions

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.cli import main
from postprocessing import FurtherRegion, PostprocessingConfig, postprocess
from postprocessing.case import postprocess_explained
from postprocessing.components import ComponentFilter, Hysteresis, LargestComponents
from postprocessing.model_config import check_config_fits, config_of_model, default_config, keep_with_model
from postprocessing.morphology import Closing, FillHoles, Opening
from postprocessing.region_nestings import nestings_of
from postprocessing.steps import steps_of

RC = FurtherRegion(name="RC", label=4)
CYST = FurtherRegion(name="Large cyst", label=7, threshold=0.3)
PAPER = PostprocessingConfig.paper()
WITH_TUMOUR = PostprocessingConfig(further=(RC, CYST), steps=())
ALONE = PostprocessingConfig(further=(replace(RC, label=1), CYST), tumour_regions=False)
SHAPE = (9, 9, 12)
LEVELS = np.float32([0, 0.2, 0.4, 0.55, 0.7, 0.9])
FACES = ndimage.generate_binary_structure(3, 1)
AMOUNTS = {
    "hysteresis": {"low": (0.2, 0.4, 0.7), "high": (0.6, 0.9)},
    "opening": {"radius": (1, 2)},
    "closing": {"radius": (1, 2)},
    "holes": {"voxels": (1, 30)},
    "components": {"voxels": (5, 60), "probability": (0.7, 1.0)},
    "mean": {"probability": (0.6, 0.75)},
    "peak": {"probability": (0.6, 0.9)},
    "largest": {"count": (1, 2)},
    "total": {"voxels": (60, 400), "probability": (0.7, 1.0)},
}

seeds = st.integers(0, 2**32 - 1)
connectivities = st.sampled_from([6, 18, 26])


def probabilities(seed, n_regions):
    """Blocks, apart or joined, and single voxels that differ."""
    random = np.random.default_rng(seed)
    blocks = random.choice(LEVELS, (n_regions, 3, 3, 4), p=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    values = blocks.repeat(3, axis=1).repeat(3, axis=2).repeat(3, axis=3)
    return np.where(random.random(values.shape) < 0.05, random.choice(LEVELS, values.shape), values)


@st.composite
def further_steps(draw):
    """One step of RC or of the cyst that is on."""
    step = draw(st.sampled_from(steps_of([RC.name, CYST.name])))
    return replace(step, **{name: draw(st.sampled_from(amounts)) for name, amounts in AMOUNTS[step.kind].items()})


# ---- each step alone ----


def painted(values, config, without=None):
    """Voxel by voxel what the thresholds paint, the regions of the paper first, each further one over these."""
    labels = np.zeros(values.shape[1:], np.uint8)
    n = 3 if config.tumour_regions else 0
    for place in np.ndindex(labels.shape):
        of_voxel = values[(slice(None), *place)]
        for probability, limit in zip(of_voxel[:n], np.float32([config.wt, config.tc, config.et])[:n], strict=True):
            if probability < limit:
                break
            labels[place] += 1
        for probability, region in zip(of_voxel[n:], config.further, strict=True):
            above = probability >= np.float32(region.threshold) if n else probability > np.float32(region.threshold)
            if above and region.name != without:
                labels[place] = region.label
    return labels


def region_after(step, mask, free, probability, connectivity):
    """The region after a step, by scipy; of what enters, only free voxels count."""
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    if step.kind == "opening":
        return ndimage.binary_opening(np.pad(mask, 3), FACES, step.radius)[3:-3, 3:-3, 3:-3]
    if step.kind == "closing":
        return mask | ndimage.binary_closing(np.pad(mask, 3), FACES, step.radius)[3:-3, 3:-3, 3:-3] & free
    if step.kind == "holes":
        holes, _ = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask, FACES)
        return mask | (holes > 0) & (np.bincount(holes.ravel())[holes] <= step.voxels) & free
    candidates = (mask | free) & (probability >= np.float32(step.low)) if step.kind == "hysteresis" else mask
    numbers, n = ndimage.label(candidates, structure)
    parts = [candidates] if step.kind == "total" else [numbers == number for number in range(1, n + 1)]
    kept = np.zeros_like(mask)
    for part in (part for part in parts if part.any()):
        kept |= part & part_stays(step, part, probability, sorted((other.sum() for other in parts), reverse=True))
    return kept


def part_stays(step, part, probability, sizes):
    """Whether a step leaves a component in its region; of ``total``, all of the region."""
    mean, peak = np.float32(probability[part].mean(dtype=np.float64)), probability[part].max()
    match step.kind:
        case "hysteresis":
            return peak >= np.float32(step.high)
        case "mean":
            return mean >= np.float32(step.probability)
        case "peak":
            return peak >= np.float32(step.probability)
        case "largest":
            return part.sum() >= sizes[min(step.count, len(sizes)) - 1]
        case _:
            is_sure = step.probability < 1 and mean >= np.float32(step.probability)
            return part.sum() >= step.voxels or is_sure


@settings(max_examples=150)
@given(seeds, further_steps(), st.sampled_from([WITH_TUMOUR, ALONE]), connectivities)
def test_a_step_of_a_further_region_is_that_of_brute_force(seed, step, config, connectivity):
    values = probabilities(seed, len(config.region_names))
    region = config.further[[RC.name, CYST.name].index(step.region)]
    before = painted(values, config)
    mask, free = before == region.label, before == 0
    after = region_after(step, mask, free, values[config.region_names.index(region.name)], connectivity)
    expected = np.where(mask & ~after, painted(values, config, without=region.name), before)
    expected[~mask & after] = region.label
    found, (change,) = postprocess_explained(values, replace(config, steps=(step,), connectivity=connectivity))
    np.testing.assert_array_equal(found, expected)
    assert change.step == step.name and change.voxels == (mask != after).sum()


@settings(max_examples=100)
@given(seeds, st.data(), connectivities)
def test_all_steps_in_any_order_are_each_alone_and_keep_the_nesting(seed, data, connectivity):
    values = probabilities(seed, 5)
    chosen = data.draw(st.permutations(WITH_TUMOUR.usual_steps))[: data.draw(st.integers(1, 45))]
    steps = tuple(
        replace(step, **{name: data.draw(st.sampled_from(amounts)) for name, amounts in AMOUNTS[step.kind].items()})
        for step in chosen
    )
    config = replace(WITH_TUMOUR, steps=steps, connectivity=connectivity)
    expected = postprocess(values, WITH_TUMOUR)
    for step in steps:
        after = step.apply(expected, values, connectivity, nestings=nestings_of(config, 5))
        region = nestings_of(config, 5)[step.region].region
        came = region.mask(after) & ~region.mask(expected)
        around = {"WT": 0, "TC": 1, "ET": 2}.get(step.region, 0)
        assert (expected[came] == around).all()
        expected = after
    np.testing.assert_array_equal(postprocess(values, config), expected)
    assert set(np.unique(expected)) <= {0, 1, 2, 3, 4, 7}


def test_what_leaves_a_cavity_is_what_the_thresholds_see_below_it():
    """A false cavity across tumour and background: its voxels become NCR, ED and background again."""
    values = np.zeros((4, 5, 5, 20), np.float32)
    values[0, 1:4, 1:4, 2:12] = values[1, 1:4, 1:4, 2:6] = 0.9
    without = postprocess(values, PostprocessingConfig(steps=()))
    values[3, 2, 2, 4:15] = 0.9
    assert (postprocess(values, PAPER)[2, 2, 4:15] == 4).all()
    cleaned = postprocess(values, PAPER.with_number("rc_component_voxels", 12))
    np.testing.assert_array_equal(cleaned, without)
    assert {0, 1, 2} <= set(without[2, 2, 4:15])


def test_a_cavity_closes_over_background_and_never_over_tumour():
    values = np.zeros((4, 3, 3, 12), np.float32)
    values[3, 1, 1, [2, 4, 6, 8]] = 0.9
    values[0, 1, 1, 5] = 0.9
    values[3] = ndimage.grey_dilation(values[3], (3, 3, 1))
    values[0] = ndimage.grey_dilation(values[0], (3, 3, 1))
    after = postprocess(values, PostprocessingConfig(steps=(Closing("RC", 1),)))
    assert after[1, 1].tolist() == [0, 0, 4, 4, 4, 1, 4, 4, 4, 0, 0, 0]


def test_steps_of_further_regions_come_before_those_of_the_tumour():
    config = PAPER.with_number("rc_total_voxels", 9).with_values(wt_opening=1).with_number("rc_opening", 1)
    assert [step.name for step in config.steps] == ["rc_opening", "rc_total", "wt_opening", "et_components", "et_total"]
    assert config.steps[1].probability == 1


def test_a_region_that_the_model_does_not_have_changes_nothing():
    values = probabilities(0, 3)
    config = PAPER.with_number("rc_hysteresis_high", 0.5).with_number("rc_opening", 1)
    labels, changes = postprocess_explained(values, config)
    np.testing.assert_array_equal(labels, postprocess(values, PAPER))
    assert [(change.step, change.voxels) for change in changes][:2] == [("rc_hysteresis", 0), ("rc_opening", 0)]


# ---- files ----


@given(st.lists(further_steps(), max_size=4, unique_by=lambda step: step.name), st.sampled_from([WITH_TUMOUR, ALONE]))
def test_they_travel_through_json(steps, config):
    config = replace(config, steps=tuple(steps), connectivity=18)
    assert PostprocessingConfig.from_mapping(json.loads(json.dumps(config.to_mapping()))) == config


def test_names_of_steps_and_settings_are_words():
    step = ComponentFilter("Large cyst", 3)
    assert step.name == "large_cyst_components" and step.setting("voxels") == "large_cyst_component_voxels"
    assert WITH_TUMOUR.with_number("large_cyst_component_voxels", 3).steps == (step,)
    assert ALONE.with_steps(["large_cyst_opening", "rc_opening"]).steps == ()


def test_files_of_models_without_tumour_regions_from_before_have_no_steps(tmp_path):
    before = {"further": [{"name": "GTV", "label": 1, "threshold": 0.4}], "averaging": None, "tuned_on": {},
              "tumour_regions": False}  # fmt: skip
    assert PostprocessingConfig.from_mapping(before) == GTV.with_threshold("GTV", 0.4)
    (tmp_path / "plans.json").write_text("{}")
    tuned = GTV.with_number("gtv_largest", 1)
    keep_with_model(tuned, tmp_path)
    assert config_of_model(tmp_path) == tuned
    assert tuned.with_preset("none") == GTV


# ---- the command ----


def run(folder, *flags):
    return main(["postprocess", "-i", str(folder / "in"), "-o", str(folder / "out"), *flags])


@pytest.mark.parametrize("dataset_json", [CAVITY, RADIOTHERAPY, APART], ids=["cavity", "target", "two regions"])
def test_the_command_takes_them_and_tells_what_they_did(dataset_json, tmp_path, capsys):
    values, _ = predictions(tmp_path / "in", dataset_json)
    start = default_config(dataset_json)
    name = start.further[-1].name.lower()
    assert run(tmp_path, "--set", f"{name}_component_voxels=9", "--set", f"{name}_hysteresis_high=0.9") == 0
    config = PostprocessingConfig.from_json(tmp_path / "out" / "postprocessing.json")
    region = start.further[-1].name
    expected = (Hysteresis(region, 0.0, 0.9), ComponentFilter(region, 9))
    assert config == replace(start, steps=(*expected, *start.steps))
    said = capsys.readouterr().out
    assert f"{name}_hysteresis: changed 1 of 1 case" in said and f"{name}_components: changed" in said
    _, changes = postprocess_explained(values, config)
    with (tmp_path / "out" / "postprocessing_changes.csv").open() as stream:
        rows = [(row["step"], int(row["voxels"])) for row in csv.DictReader(stream)]
    assert rows == [(change.step, change.voxels) for change in changes]


def test_order_and_choice_of_steps_are_the_user_s(tmp_path):
    predictions(tmp_path / "in", CAVITY)
    flags = ("--set", "rc_opening=1", "--set", "rc_largest=1", "--steps", "et_total", "rc_largest", "rc_opening")
    assert run(tmp_path, *flags) == 0
    config = PostprocessingConfig.from_json(tmp_path / "out" / "postprocessing.json")
    assert config.steps == (PAPER.steps[1], LargestComponents("RC", 1), Opening("RC", 1))


BAD = {
    "--set of an unknown region": (CAVITY, ["--set", "cc_opening=1"]),
    "--set of an unknown number": (CAVITY, ["--set", "rc_size=1"]),
    "--set out of range": (CAVITY, ["--set", "rc_opening=21"]),
    "--set of WT where WT is not there": (RADIOTHERAPY, ["--set", "wt_opening=1"]),
    "a step of a region that the model does not have": (TUMOUR, ["--set", "rc_opening=1"]),
    "an unknown step": (RADIOTHERAPY, ["--steps", "rc_opening"]),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_named_and_nothing_is_written(kind, tmp_path, capsys, bad_input):
    dataset_json, flags = BAD[kind]
    predictions(tmp_path / "in", dataset_json)
    assert run(tmp_path, *flags) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and not (tmp_path / "out").exists()
    bad_input("postprocess", kind, error)


def test_a_set_without_a_number_is_a_wrong_usage(tmp_path, capsys):
    predictions(tmp_path / "in", CAVITY)
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, "--set", "rc_opening")
    assert "'rc_opening' is no setting; give a name and a number" in capsys.readouterr().err


@pytest.mark.parametrize("region", ["WT", "GTV", "rc"])
def test_a_file_with_a_step_of_an_unknown_region_is_refused(region, tmp_path):
    file = tmp_path / "postprocessing.json"
    mapping = {**ALONE.to_mapping(), "steps": [FillHoles(region, 3).to_mapping()]}
    file.write_text(json.dumps(mapping))
    with pytest.raises(InputError, match=rf"region of a step holes must be one of RC, Large cyst; got '{region}'"):
        PostprocessingConfig.from_json(file)


def test_steps_of_a_cystic_component_fit_and_those_around_it_do_not():
    """CC is part of WT and TC in BraTS 2024 PED."""
    labels = {"background": 0, "WT": [1, 2, 3, 4], "TC": [2, 3, 4], "ET": 3, "CC": 4}
    dataset_json = {"labels": labels, "regions_class_order": [1, 2, 3, 4]}
    config = default_config(dataset_json).with_number("cc_component_voxels", 5)
    check_config_fits(config, dataset_json)
    with pytest.raises(InputError, match="which tc_opening would count without it"):
        check_config_fits(config.with_values(tc_opening=1), dataset_json)
