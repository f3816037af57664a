"""A step that takes the last voxel of a region says so, and the flags that it names keep the region."""

import json
import re

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import painted, values_of

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.report.remarks import read_prediction_notes
from postprocessing import PostprocessingConfig
from postprocessing.case import postprocess_explained
from postprocessing.emptied import emptied_warnings

SHAPE = (10, 10, 10)
ET = 3


def probabilities(*, et_voxels, et=0.6):
    """A cube of tumour core with so many voxels of enhancing tumour in it, which are neighbours."""
    values = np.zeros((3, *SHAPE), np.float32)
    values[:2, 1:9, 1:9, 1:9] = 0.8
    block = np.zeros((6, 6, 6), bool)
    block.reshape(-1)[:et_voxels] = True
    values[2, 2:8, 2:8, 2:8][block] = et
    return values


def warnings_of(values, config):
    return list(emptied_warnings(postprocess_explained(values, config)[1], config))


def test_nothing_is_said_where_some_of_the_region_stays_or_none_was_there():
    config = PostprocessingConfig.paper()
    for values in (probabilities(et_voxels=80), probabilities(et_voxels=40, et=0.95), probabilities(et_voxels=0)):
        assert warnings_of(values, config) == []
    values = probabilities(et_voxels=80)
    values[2, 8, 8, 8] = 0.6  # a component that goes while the other stays
    labels, changes = postprocess_explained(values, config)
    assert changes[0].voxels == 1 and warnings_of(values, config) == [] and (labels == ET).sum() == 80


def test_the_total_rule_and_the_component_filter_say_how_to_keep_it():
    config = PostprocessingConfig.paper()
    assert warnings_of(probabilities(et_voxels=40), config) == [
        "et_total removed all enhancing tumour (--et-total-voxels 0 keeps it): 40 voxels, mean probability 0.60"
    ]
    assert warnings_of(probabilities(et_voxels=1), config) == [
        "et_components removed all enhancing tumour (--et-component-voxels 0 --et-total-voxels 0 keeps it): 1 voxel, "
        "mean probability 0.60"
    ]


def test_of_nested_regions_the_outermost_is_named():
    config = PostprocessingConfig.preset("none").with_values(wt_component_voxels=1000)
    _, changes = postprocess_explained(probabilities(et_voxels=40), config)
    assert [(change.step, change.emptied) for change in changes] == [("wt_components", "WT")]


@pytest.mark.parametrize("et_voxels", [1, 40])
def test_the_flags_that_the_command_names_keep_the_region(tmp_path, capsys, et_voxels):
    values = probabilities(et_voxels=et_voxels)
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for case in "ab":
        np.savez(folder / f"{case}.npz", probabilities=values)
        sitk.WriteImage(sitk.GetImageFromArray(painted(values)), str(folder / f"{case}.nii.gz"))
    assert main(["postprocess", "-i", str(folder), "-o", str(out)]) == 0
    said = capsys.readouterr().out
    (line,) = (line for line in said.splitlines() if line.startswith("warning: "))
    assert "removed all enhancing tumour" in line and "2 cases, a, b" in line
    assert not (values_of(out / "a.nii.gz") == ET).any()
    noted = json.loads((out / "run.json").read_text())["cases"]["a"]
    assert [change["emptied"] for change in noted["changes"]].count("ET") == 1
    (shown,) = read_prediction_notes(out).warnings("a")  # which the report's viewer shows
    assert shown.startswith("et_") and "removed all enhancing tumour" in shown
    flags = re.search(r"\((--.*) keeps it\)", line)[1].split()
    assert main(["postprocess", "-i", str(folder), "-o", str(tmp_path / "kept"), *flags]) == 0
    assert (values_of(tmp_path / "kept" / "a.nii.gz") == ET).sum() == et_voxels
