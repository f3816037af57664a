"""Regions other than WT, TC and ET: painted as nnU-Net paints them, with a threshold each, and steps of their own."""

import json
import pickle
from argparse import ArgumentParser
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_resunet_ds.base.dataset_json import check_regions
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.regions import REGIONS, Region
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.commands.postprocessing_arguments import add_postprocessing_arguments, chosen_config
from postprocessing import FurtherRegion, PostprocessingConfig, postprocess
from postprocessing.components import ComponentFilter, PeakFilter
from postprocessing.model_config import check_config_fits, config_of_model, default_config, nnunet_config
from postprocessing.morphology import Opening
from postprocessing.probabilities import mean_probabilities

PAPER = PostprocessingConfig.paper()
RADIOTHERAPY = {"labels": {"background": 0, "gross tumor volume": [1, 1]}, "regions_class_order": [1]}
APART = {"labels": {"background": 0, "Cyst": [1, 2], "vessel": 3}, "regions_class_order": [2, 3]}
"""Two regions, neither inside the other; the first is painted 2."""
TUMOUR = {"labels": {"background": 0, "WT": [1, 2, 3], "TC": [2, 3], "ET": [3]}, "regions_class_order": [1, 2, 3]}
CAVITY = {"labels": {**TUMOUR["labels"], "resection cavity": 4}, "regions_class_order": [1, 2, 3, 4]}
GTV = PostprocessingConfig(tumour_regions=False, further=(FurtherRegion(name="GTV", label=1),))


@st.composite
def datasets(draw):
    """A dataset.json of one to four regions, within each other or not, that nnU-Net trains and paints right."""
    sets = draw(st.lists(st.sets(st.integers(1, 6), min_size=1), min_size=1, max_size=4))
    labels = {f"region {number}": sorted(values) * (2 if len(values) == 1 else 1) for number, values in enumerate(sets)}
    own = [sorted(values.difference(*sets[number + 1 :])) for number, values in enumerate(sets)]
    if not all(own):
        return TUMOUR
    order = [draw(st.sampled_from(candidates)) for candidates in own]
    return {"labels": {"background": 0, **labels}, "regions_class_order": order}


@settings(max_examples=60)
@given(datasets(), st.data())
def test_without_settings_a_model_is_painted_as_nnunet_paints_it(dataset_json, data):
    check_regions(dataset_json)
    manager = LabelManager(dataset_json["labels"], dataset_json["regions_class_order"])
    shape = (manager.num_segmentation_heads, 3, 4, 5)
    values = data.draw(hnp.arrays(np.float32, shape, elements=st.sampled_from(np.float32([0, 0.3, 0.5, 0.51, 1]))))
    expected = manager.convert_probabilities_to_segmentation(values)
    np.testing.assert_array_equal(postprocess(values, nnunet_config(dataset_json)), expected)
    own = default_config(dataset_json)
    check_config_fits(own, dataset_json)
    assert PostprocessingConfig.from_mapping(json.loads(json.dumps(own.to_mapping()))) == own
    if not own.tumour_regions:
        np.testing.assert_array_equal(postprocess(values, own), expected)


def test_the_defaults_are_the_paper_s_where_wt_tc_and_et_are_there():
    assert default_config(None) == default_config(TUMOUR) == default_config(CAVITY) == PAPER
    other = {**CAVITY, "labels": {**CAVITY["labels"], "resection cavity": 7}, "regions_class_order": [1, 2, 3, 7]}
    assert default_config(other) == PostprocessingConfig(further=(FurtherRegion(name="RC", label=7),))
    cystic = {"labels": {"background": 0, "WT": [1, 2, 3, 4], "TC": [2, 3, 4], "ET": 3, "CC": 4}}
    cystic["regions_class_order"] = [1, 2, 3, 4]
    assert default_config(cystic) == PostprocessingConfig(further=(FurtherRegion(name="CC", label=4),))
    assert default_config(RADIOTHERAPY) == GTV
    cyst, vessel = default_config(APART).further
    assert (cyst.name, cyst.label, vessel.name, vessel.label) == ("cyst", 2, "vessel", 3)


def test_the_file_says_no_more_than_what_counts():
    assert "tumour_regions" not in PAPER.to_mapping()  # as files were before
    assert GTV.to_mapping() == {
        "further": [{"name": "GTV", "label": 1, "threshold": 0.5}],
        "steps": [],
        "connectivity": 6,
        "averaging": None,
        "flips": None,
        "tuned_on": {},
        "tumour_regions": False,
    }


def test_presets_are_for_the_regions_that_are_there():
    tuned = GTV.with_threshold("gtv", 0.3)
    assert tuned.further[0].threshold == 0.3
    assert tuned.with_preset("none") == tuned.with_preset("nnunet") == GTV
    with pytest.raises(InputError, match="preset paper: for WT, TC and ET alone, and the regions here are GTV"):
        tuned.with_preset("paper")
    cavity = PAPER.with_threshold("RC", 0.7)
    for name in ("paper", "none", "nnunet"):
        assert cavity.with_preset(name) == PostprocessingConfig.preset(name)


@pytest.mark.parametrize(
    ("bad", "named"),
    [({"wt": 0.4}, "wt"), ({"nested": False}, "nested"), ({"et_total_voxels": 3}, "unknown .*: et_total_voxels; valid"),
     ({"steps": ["et_total"]}, "each of steps must be an object"), ({"connectivity": 7}, "connectivity"),
     ({"steps": [{"step": "opening", "region": "WT", "radius": 0}]}, "opening must be one of GTV; got 'WT'"),
     ({"steps": [{"step": "opening", "region": ["GTV"], "radius": 1}]}, "must be the name of a region"),
     ({"further": []}, "must name all regions"),
     ({"further": [{"name": "GTV", "label": 0}]}, "label of GTV"), ({"tumour_regions": 0}, "true or false")],
)  # fmt: skip
def test_settings_of_wt_tc_and_et_are_refused_where_these_are_not_there(bad, named):
    mapping = {"tumour_regions": False, "further": [{"name": "GTV", "label": 1}]}
    assert PostprocessingConfig.from_mapping(mapping) == GTV
    with pytest.raises(InputError, match=named):
        PostprocessingConfig.from_mapping({**mapping, **bad})
    with pytest.raises(InputError, match="must name all regions"):
        PostprocessingConfig.from_mapping({"tumour_regions": False})


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], GTV),
        (["--threshold", "GTV=0.4"], GTV.with_values(**{"threshold of GTV": 0.4})),
        (["--preset", "nnunet"], GTV),
        (["--steps"], GTV),
        (["--wt", "0.3"], "wt: for WT, TC and ET alone, and the regions here are GTV; leave it out, or set"),
        (["--et-component-voxels", "9"], "et_component_voxels: for WT"),
        (["--connectivity", "26"], replace(GTV, connectivity=26)),
        (["--set", "gtv_component_voxels=9"], replace(GTV, steps=(ComponentFilter("GTV", 9),))),
        (
            ["--set", "gtv_peak=1", "--set", "gtv_opening=2"],
            replace(GTV, steps=(Opening("GTV", 2), PeakFilter("GTV", 1))),
        ),
        (["--set", "gtv_component_voxels=9", "--steps"], GTV),
        (
            ["--set", "gtv_opening=2", "--steps", "gtv_components", "gtv_opening"],
            replace(GTV, steps=(Opening("GTV", 2),)),
        ),
        (["--steps", "et_total"], "each of steps must be one of gtv_hysteresis.*, gtv_total; got 'et_total'"),
        (["--set", "et_total_voxels=3"], "no setting et_total_voxels here; the regions are gtv, and"),
        (["--set", "gtv_opening=21"], "gtv_opening must be a whole number from 0 to 20; got 21"),
        (["--set", "gtv_opening=1.5"], "gtv_opening must be a whole number from 0 to 20; got 1.5"),
        (["--set", "gtv_opening=nan"], "gtv_opening must be a whole number from 0 to 20; got nan"),
        (["--set", "gtv_peak=nan"], "gtv_peak must be a number from 0 to 1; got nan"),
        (["--threshold", "RC=0.4"], "no region RC with a threshold of its own here, but GTV$"),
        (["--threshold", "GTV=1.4"], "threshold of GTV must be a number from 0 to 1"),
    ],
)
def test_flags_set_numbers_of_these_regions_and_no_others(flags, expected):
    parser = ArgumentParser()
    add_postprocessing_arguments(parser, "the model's")
    options = parser.parse_args(flags)
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected):
            chosen_config(options, GTV)
    else:
        assert chosen_config(options, GTV) == expected


def test_the_flag_of_a_further_region_needs_its_name(capsys):
    parser = ArgumentParser()
    add_postprocessing_arguments(parser, "the model's")
    config = chosen_config(parser.parse_args(["--threshold", "rc=0.6", "--wt", "0.3"]), PAPER)
    assert config == PostprocessingConfig(wt=0.3, further=(FurtherRegion(name="RC", label=4, threshold=0.6),))
    with pytest.raises(InputError, match="those of WT, TC and ET are set by --wt"):
        chosen_config(parser.parse_args(["--threshold", "WT=0.6"]), PAPER)
    for text in ("0.4", "GTV=", "GTV=a"):
        with pytest.raises(SystemExit) if text != "0.4" else pytest.raises(InputError, match="no region "):
            chosen_config(parser.parse_args(["--threshold", text]), PAPER)
    assert "give a region and a number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "dataset_json", "said"),
    [
        (PAPER, RADIOTHERAPY, "is for WT, TC and ET, and the model has gross tumor volume"),
        (GTV, TUMOUR, "is for GTV, and the model has WT, TC, ET"),
        (GTV, APART, "the model has 2 regions"),
        (default_config(APART), RADIOTHERAPY, r"paint \[2, 3\], and those of the model \[1\]"),
        (PostprocessingConfig(further=(FurtherRegion(name="RC", label=5),)), CAVITY, r"paint \[5\], and .* \[4\]"),
    ],
)
def test_settings_of_other_regions_are_refused(config, dataset_json, said):
    with pytest.raises(InputError, match=said):
        check_config_fits(config, dataset_json)


@pytest.mark.parametrize("shape", [(2, 4, 4, 4), (4, 4, 4)])
def test_as_many_probabilities_as_regions(shape):
    with pytest.raises(InputError, match=r"\(R, Z, Y, X\) with R = 1; got"):
        postprocess(np.zeros(shape, np.float32), GTV)


def test_mean_probabilities_are_of_the_regions_that_are_given():
    values = np.stack([np.full((2, 2, 2), 0.6), np.full((2, 2, 2), 0.9)]).astype(np.float32)
    labels = np.full((2, 2, 2), 2, np.uint8)
    labels[0, 0, 0] = 3
    values[1, 0, 0, 0] = 0.7
    apart = (Region("cyst", "Cyst", (1, 2)), Region("vessel", "vessel", (3,)))
    assert mean_probabilities(labels, values, apart) == pytest.approx({"cyst": 0.6, "vessel": 0.7})
    assert set(mean_probabilities(labels, np.zeros((3, 2, 2, 2), np.float32))) == {region.name for region in REGIONS}


# ---- a folder as nnUNetv2_predict --save_probabilities leaves it ----


def predictions(folder, dataset_json):
    manager = LabelManager(dataset_json["labels"], dataset_json["regions_class_order"])
    folder.mkdir()
    (folder / "dataset.json").write_text(json.dumps(dataset_json))
    values = np.random.default_rng(0).random((manager.num_segmentation_heads, 5, 6, 7), np.float32)
    np.savez_compressed(folder / "a.npz", probabilities=values)
    (folder / "a.pkl").write_bytes(pickle.dumps({}))
    stock = manager.convert_probabilities_to_segmentation(values).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(stock), str(folder / "a.nii.gz"))
    return values, stock


@pytest.mark.parametrize("dataset_json", [RADIOTHERAPY, APART], ids=["one region", "two regions"])
def test_the_command_gives_what_nnunet_wrote_and_follows_thresholds(dataset_json, tmp_path, capsys):
    values, stock = predictions(tmp_path / "in", dataset_json)
    name = default_config(dataset_json).further[-1].name
    for flags in ((), ("--preset", "nnunet"), ("--preset", "none")):
        assert main(["postprocess", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *flags]) == 0
        found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "a.nii.gz")))
        np.testing.assert_array_equal(found, stock)
    flags = ["--threshold", f"{name}=0.9"]
    assert main(["postprocess", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "less"), *flags]) == 0
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "less" / "a.nii.gz")))
    label = dataset_json["regions_class_order"][-1]
    np.testing.assert_array_equal(found == label, values[-1] > np.float32(0.9))
    capsys.readouterr()
    assert main(["postprocess", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "none"), "--wt", "0.4"]) == 2
    error = capsys.readouterr().err
    assert "wt: for WT, TC and ET alone" in error and len(error.splitlines()) == 1
    assert not (tmp_path / "none").exists()


def test_settings_of_another_model_are_refused_in_the_folder(tmp_path, capsys):
    predictions(tmp_path / "in", RADIOTHERAPY)
    settings_file = tmp_path / "paper.json"
    PAPER.to_json(settings_file)
    words = ["-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--config", str(settings_file)]
    assert main(["postprocess", *words]) == 2
    assert "the post-processing is for WT, TC and ET" in capsys.readouterr().err
    (tmp_path / "in" / "postprocessing.json").write_text(json.dumps(GTV.with_threshold("GTV", 0.2).to_mapping()))
    assert config_of_model(tmp_path / "in").further[0].threshold == 0.2
