"""``postprocessing.json``: in today's form, in that of earlier versions, from flags, and in run.json."""

import json
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import write_json
from nnunet_resunet_ds.base.regions import ET, TC, WT
from nnunet_resunet_ds.base.run_file import RunFile
from nnunet_resunet_ds.commands.postprocessing_arguments import add_postprocessing_arguments, chosen_config
from postprocessing import FurtherRegion, PostprocessingConfig, postprocess
from postprocessing.components import ComponentFilter
from postprocessing.config import EARLIER_FORMS, PRESETS
from postprocessing.model_config import config_of_model
from postprocessing.morphology import Closing, Opening
from postprocessing.settings import SETTINGS
from postprocessing.steps import USUAL_STEPS
from postprocessing.total_rule import TotalRule

PAPER = PostprocessingConfig.paper()
FLAT = Path(__file__).parent / "flat_settings"
"""Files as versions wrote them in which the settings were a flat object."""
RC = FurtherRegion(name="RC", label=4, threshold=0.6)
MEANING = {
    "paper": PAPER,
    "nnunet": PostprocessingConfig(wt=0.5, tc=0.5, et=0.5, nested=False, steps=()),
    "tuned": PostprocessingConfig(
        wt=0.55,
        tc=0.5,
        et=0.35,
        steps=(
            ComponentFilter("WT", 1024),
            ComponentFilter("TC", 64, 0.7),
            ComponentFilter("ET", 0, 0.8),
            TotalRule("ET", 300, 0.95),
        ),
        averaging="probabilities",
        tuned_on=(("0", "3f2a9c41d7e80b56"), ("1", "b81e07d2c45f9a63")),
    ),
    "further_regions": PostprocessingConfig(
        further=(RC, FurtherRegion(name="CC", label=5)), connectivity=26, steps=(Closing("WT", 2), *PAPER.steps)
    ),
    "other_order": PostprocessingConfig(
        steps=(
            TotalRule("ET", 73, 0.9),
            ComponentFilter("ET", 16, 0.9),
            ComponentFilter("WT", 20, 0.7),
            Opening("ET", 1),
            Closing("WT", 1),
        ),
        connectivity=18,
    ),
}


def through_json(config):
    return PostprocessingConfig.from_mapping(json.loads(json.dumps(config.to_mapping())))


# ---- today's form ----


def switched(step):
    """The step with any number in the field that switches it on, small enough for an opening."""
    switch = step.switches[0]
    most = min(20, step.numbers[switch].at_most)
    return st.integers(0, most).map(lambda n: step.with_value(switch, n))


steps = st.permutations(USUAL_STEPS).flatmap(lambda usual: st.tuples(*map(switched, usual)))
configs = st.builds(
    PostprocessingConfig,
    wt=st.floats(0, 1),
    nested=st.booleans(),
    steps=steps,
    connectivity=st.sampled_from([6, 18, 26]),
    averaging=st.sampled_from([None, "logits"]),
    tuned_on=st.dictionaries(st.text(), st.text(), max_size=2).map(lambda weights: tuple(weights.items())),
    further=st.lists(
        st.builds(FurtherRegion, name=st.text(), label=st.integers(4, 255)), max_size=2, unique_by=lambda r: r.label
    ).map(tuple),
)


@given(configs)
def test_configurations_travel_through_json(config):
    assert through_json(config) == config


def test_the_file_is_a_list_of_steps_in_order():
    config = PostprocessingConfig(steps=(Opening("WT", 1), ComponentFilter("ET", 16, 0.9)))
    assert config.to_mapping()["steps"] == [
        {"step": "opening", "region": "WT", "radius": 1},
        {"step": "components", "region": "ET", "voxels": 16, "probability": 0.9, "mm3": 0.0},
    ]


def test_presets():
    off = PostprocessingConfig.preset("none")
    assert PostprocessingConfig.preset("paper") == PAPER
    assert (off.wt, off.tc, off.et, off.nested, off.steps) == (0.5, 0.5, 0.5, True, ())
    assert all(through_json(config) == config for config in PRESETS.values())
    with pytest.raises(InputError, match="paper, none, nnunet"):
        PostprocessingConfig.preset("mine")


@pytest.mark.parametrize(
    "content",
    ['{"wt": 1.5}', '{"wt": "0.4"}', '{"wt": NaN}', '{"et_total_voxels": 2.5}', '{"connectivity": 8}', '{"WT": 0.4}',
     '{"further": [{"label": 4}]}', '{"further": [{"name": {}, "label": 4}]}',
     '{"further": [{"name": "X", "label": []}]}', '{"further": [{"name": "X", "label": 300}]}',
     '{"further": [{"name": "X", "label": 3}]}',
     '{"further": [{"name": "X", "label": 4}, {"name": "Y", "label": 4}]}', '{"further": 3}', '[]', '{', 'null'],
)  # fmt: skip
def test_bad_configuration_files_are_named(tmp_path, content):
    file = tmp_path / "postprocessing.json"
    file.write_text(content)
    with pytest.raises(InputError, match=r"postprocessing\.json"):
        PostprocessingConfig.from_json(file)


@pytest.mark.parametrize(
    ("bad", "named"),
    [({"steps": ["et_total", "et_total"]}, "once"), ({"steps": ["shrink"]}, "shrink"), ({"steps": "et_total"}, "list"),
     ({"nested": 1}, "nested"), ({"wt_opening": -1}, "wt_opening"), ({"wt_opening": 21}, "wt_opening"),
     ({"tc_component_voxels": 1.5}, "tc_component_voxels"),
     ({"tc_component_probability": 2}, "tc_component_probability"), ({"averaging": "labels"}, "averaging"),
     ({"steps": [3]}, "each of steps must be an object like"), ({"steps": [{}]}, "hysteresis, opening, .*, total"),
     ({"steps": [{"step": ["opening"]}]}, "hysteresis, opening, .*, total"),
     ({"steps": [{"step": "opening", "radius": 1}]}, "needs region"),
     ({"steps": [{"step": "opening", "region": "XX", "radius": 1}]}, "WT, TC, ET, RC"),
     ({"steps": [{"step": "opening", "region": "WT", "radius": 21}]}, "wt_opening must be a whole number from 0 to 20"),
     ({"steps": [{"step": "total", "region": "ET", "voxels": 9, "size": 3}]}, "size; valid are region, voxels"),
     ({"steps": [{"step": "total", "region": "ET", "voxels": 9}] * 2}, "once"),
     ({"steps": [{"step": "total", "region": "ET", "voxels": 9}], "wt_opening": 1}, "each of steps must be one of")],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(bad, named):
    with pytest.raises(InputError, match=named):
        PostprocessingConfig.from_mapping(bad)


# ---- the form of earlier versions ----


@pytest.mark.parametrize("name", MEANING)
def test_files_of_earlier_versions_mean_the_same(name, tmp_path):
    file = FLAT / f"{name}.json"
    assert PostprocessingConfig.from_json(file) == MEANING[name]
    write_json({"resunet_ds_postprocessing": json.loads(file.read_text())}, tmp_path / "plans.json")
    assert config_of_model(tmp_path) == MEANING[name]


def flat_reference(values, flat):
    """What a flat object of settings does, step by step, with scipy alone."""
    reaches = np.greater_equal if flat["nested"] else np.greater
    wt, tc, et = (reaches(values[i], np.float32(flat[name])) for i, name in enumerate(("wt", "tc", "et")))
    if flat["nested"]:
        tc, et = tc & wt, et & tc & wt
    labels = np.select([et, tc, wt], [3, 2, 1], 0)
    for channel, further in zip(values[3:], flat["further"], strict=False):
        labels[reaches(channel, np.float32(further["threshold"]))] = further["label"]
    balls = ndimage.generate_binary_structure(3, 1)
    neighbours = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[flat["connectivity"]])
    for step in flat["steps"]:
        key, operation = step.split("_")
        channel = ("wt", "tc", "et").index(key)
        mask = (WT, TC, ET)[channel].mask(labels)
        radius = flat.get(step, 0)
        if operation == "opening" and radius:
            labels[mask & ~ndimage.binary_opening(mask, balls, radius)] = channel
        elif operation == "closing" and radius:
            closed = ndimage.binary_closing(np.pad(mask, radius), balls, radius)[(slice(radius, -radius),) * 3]
            labels[closed & (labels == channel)] = channel + 1
        elif operation in ("components", "total"):
            setting = f"{key}_{operation.removesuffix('s')}"
            parts, n = (
                ndimage.label(mask, neighbours) if operation == "components" else (mask.astype(int), int(mask.any()))
            )
            for part in (parts == number + 1 for number in range(n)):
                limit = flat[f"{setting}_probability"]
                doubtful = limit == 1 or np.float32(values[channel][part].mean(dtype=np.float64)) < np.float32(limit)
                if part.sum() < flat[f"{setting}_voxels"] and doubtful:
                    labels[part] = channel
    return labels


flat_names = json.loads((FLAT / "paper.json").read_text())["steps"]
flat_settings = st.fixed_dictionaries(
    {
        **{name: st.sampled_from([0.3, 0.45, 0.5]) for name in ("wt", "tc", "et")},
        "nested": st.booleans(),
        "further": st.sampled_from([[], [{"name": "RC", "label": 4, "threshold": 0.6}]]),
        "steps": st.permutations(flat_names).flatmap(lambda s: st.integers(0, len(s)).map(lambda n: s[:n])),
        **{name: st.integers(0, 2) for name in flat_names if name.endswith("ing")},
        **{f"{name}_component_voxels": st.integers(0, 30) for name in ("wt", "tc", "et")},
        **{f"{name}_component_probability": st.sampled_from([0.6, 0.8, 1]) for name in ("wt", "tc", "et")},
        "et_total_voxels": st.integers(0, 100),
        "et_total_probability": st.sampled_from([0.6, 0.8, 1]),
        "connectivity": st.sampled_from([6, 18, 26]),
        "averaging": st.none(),
        "tuned_on": st.just({"0": "ab"}),
    }
)


@settings(max_examples=60)
@given(flat_settings, hnp.arrays(np.float32, (4, 5, 6, 7), elements=st.sampled_from(np.float32([0, 0.4, 0.7, 1]))))
def test_flat_settings_give_the_labels_that_they_gave(flat, values):
    values = values[: 3 + len(flat["further"])]
    config = PostprocessingConfig.from_mapping(flat)
    np.testing.assert_array_equal(postprocess(values, config), flat_reference(values, flat))
    assert through_json(config) == config


# ---- flags and numbers by name ----


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], PAPER),
        (["--wt", "0.3", "--connectivity", "26"], PostprocessingConfig(wt=0.3, connectivity=26)),
        (["--et-component-voxels", "8"], PostprocessingConfig(steps=(ComponentFilter("ET", 8, 0.9), PAPER.steps[1]))),
        (["--et-component-voxels", "0"], PostprocessingConfig(steps=(ComponentFilter("ET", 0, 0.9), PAPER.steps[1]))),
        (["--et-closing", "2", "--wt-opening", "1"],
         PostprocessingConfig(steps=(Opening("WT", 1), Closing("ET", 2), *PAPER.steps))),
        (["--preset", "none", "--wt-component-voxels", "100"],
         PostprocessingConfig(wt=0.5, tc=0.5, et=0.5, steps=(ComponentFilter("WT", 100),))),
        (["--steps", "et_total", "et_opening", "--et-opening", "2"],
         PostprocessingConfig(steps=(TotalRule("ET", 73, 0.9), Opening("ET", 2)))),
        (["--preset", "none", "--steps", "et_total"],
         PostprocessingConfig(wt=0.5, tc=0.5, et=0.5, steps=(TotalRule("ET", 73, 0.9),))),
        (["--steps"], PostprocessingConfig(steps=())),
        (["--config", str(FLAT / "other_order.json"), "--wt-component-voxels", "9"],
         MEANING["other_order"].with_values(wt_component_voxels=9)),
    ],
)  # fmt: skip
def test_flags_change_numbers_and_steps(flags, expected):
    parser = ArgumentParser()
    add_postprocessing_arguments(parser, "the paper's")
    assert chosen_config(parser.parse_args(flags), PAPER) == expected


@given(configs, st.sampled_from(list(SETTINGS)), st.sampled_from([6, 18]))
def test_a_number_that_is_set_is_read_again(config, name, value):
    value = value if SETTINGS[name].number.type is int else value / 20
    changed = config.with_values(**{name: value})
    assert changed.value(name) == value and through_json(changed) == changed
    others = [other for other in SETTINGS if other != name and config.has_effect(other)]
    assert [changed.value(other) for other in others] == [config.value(other) for other in others]


# ---- run.json ----


@pytest.mark.parametrize("name", MEANING)
def test_a_folder_begun_by_an_earlier_version_is_gone_on_with(name, tmp_path):
    flat = json.loads((FLAT / f"{name}.json").read_text())
    (tmp_path / "a.nii.gz").write_bytes(b"")
    before = {"labels": "nnunet", "postprocessing": flat, "cases": {"a": {"file": "a.nii.gz"}}}
    write_json(before, tmp_path / "run.json")

    def go_on(config):
        setting = {"labels": "nnunet", "postprocessing": config.to_mapping()}
        run = RunFile(tmp_path, setting, earlier_forms=EARLIER_FORMS)
        run.open({"a", "b"}, resume=True)
        return run

    with pytest.raises(InputError, match=r"other settings \(post-processing \(.*\): wt then [\d.]+, now 0.11\)"):
        go_on(MEANING[name].with_values(wt=0.11))
    run = go_on(MEANING[name])
    assert run.is_mine("a")
    assert json.loads((tmp_path / "run.json").read_text())["postprocessing"] == MEANING[name].to_mapping()


def test_a_probability_alone_switches_no_step_on():
    off = PostprocessingConfig.preset("none")
    changed = off.with_values(et_total_probability=0.5)
    assert not any(step.is_on for step in changed.steps)
    assert changed.with_values(et_total_voxels=10).value("et_total_probability") == 0.5
