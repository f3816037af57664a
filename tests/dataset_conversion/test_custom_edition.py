import json
import sys

import numpy as np
import pytest
from brats_files import SHAPE, values_of, write

from dataset_conversion import convert
from dataset_conversion.custom_edition import custom_edition
from dataset_conversion.splits import write_splits
from dataset_conversion.submission import write_submission
from nnunet_resunet_ds.base.dataset_json import check_regions
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.cli import main

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXT = """
title = "My clinic"
segmentation = "_label"
case_id = '(?P<patient>P\\d+)_\\d+'
[images]
T1 = "_T1w"
T1ce = "_T1gd"
T2 = "_T2w"
FLAIR = "_FLAIR"
[labels]
NCR = 7
ED = 2
ET = 1
cavity = 5
[regions]
WT = ["NCR", "ED", "ET", "cavity"]
"""


@pytest.fixture
def clinic(tmp_path):
    """Two time points of three patients, and the file that describes them."""
    random = np.random.default_rng(0)
    for patient in range(3):
        for time in range(2):
            stem = tmp_path / "clinic" / f"P{patient}_{time}"
            for suffix in ("T1w", "T1gd", "T2w", "FLAIR"):
                write(stem.with_name(f"{stem.name}_{suffix}.nii.gz"), random.integers(1, 900, SHAPE, dtype=np.int16))
            write(
                stem.with_name(f"{stem.name}_label.nii.gz"), random.choice(np.array([0, 1, 2, 5, 7], np.uint8), SHAPE)
            )
    (tmp_path / "mine.toml").write_text(TEXT)
    return tmp_path


def test_the_whole_way_there_and_back(clinic, raw):
    file = clinic / "mine.toml"
    assert main(["convert", str(clinic / "clinic"), "-d", "5", "--edition-file", str(file)]) == 0
    dataset = raw / "Dataset005_Myclinic"
    content = json.loads((dataset / "dataset.json").read_text())
    check_regions(content)
    assert content["labels"] == {
        "background": 0, "whole tumor": [1, 2, 3, 4], "tumor core": [2, 3], "enhancing tumor": [3], "cavity": [4]
    }  # fmt: skip
    _, written = write_submission(dataset / "labelsTr", clinic / "out", edition_file=file)
    for path in written:
        original = values_of(clinic / "clinic" / path.name.replace(".nii", "_label.nii"))
        np.testing.assert_array_equal(values_of(path), original)
    _, folds = write_splits(5, folds=3)
    assert [{case.case_id[:2] for case in fold.val} for fold in folds] != [] and all(
        len({case.patient for case in fold.val}) == 1 and len(fold.val) == 2 for fold in folds
    )


def test_label_values_that_are_read_otherwise_than_before_are_spoken_of(clinic, raw, capsys):
    words = ["convert", str(clinic / "clinic"), "-d", "5", "--edition-file", str(clinic / "mine.toml")]
    assert main(words) == main(words) == 0
    assert "read otherwise" not in capsys.readouterr().err
    (clinic / "mine.toml").write_text(TEXT.replace("NCR = 7", "NCR = 2").replace("ED = 2", "ED = 7"))
    assert main(words) == 0
    said = capsys.readouterr().err
    assert (
        "(NCR 7, ED 2, ET 1, cavity 5; now NCR 2, ED 7, ET 1, cavity 5), and its label maps are written again" in said
    )


def changed(**entries):
    return {**tomllib.loads(TEXT), **entries}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": {}}, "missing entries: segmentation, labels"),
        (changed(colour="red"), "unknown entries: colour"),
        (changed(images={"T1": "_a"}), "images lacks T1ce, T2, FLAIR"),
        (changed(images={"T1": 3, "T1ce": "b", "T2": "c", "FLAIR": "d"}), "images.T1 must be a text"),
        (changed(segmentation="../x"), "without slashes"),
        (changed(images={"T1": "_a", "T1ce": "_A", "T2": "_c", "FLAIR": "_d"}), "need a suffix of their own"),
        (changed(labels={"NCR": 1, "ED": 2, "ET": 3, "background": 4}), "at most one further tissue"),
        (changed(labels={"NCR": 1, "ED": 2, "ET": 3, "ignore": 4}), "at most one further tissue"),
        (changed(labels={"NCR": 1, "ED": 2}), "labels must have NCR, ED, ET"),
        (changed(labels={"NCR": 1, "ED": 1, "ET": 3}), "different whole numbers"),
        (changed(labels={"NCR": 0, "ED": 1, "ET": 3}), "from 1 to 255"),
        (changed(labels={"NCR": 1, "ED": 2, "ET": 3, "a": 4, "b": 5}), "at most one further tissue"),
        (changed(regions={"TC": ["NCR", "ET", "cavity"]}), "TC must lie within"),
        (changed(regions={"ET": ["ET", "cavity"]}), "regions.ET must hold ET"),
        (changed(regions={"WT": ["ED"]}), "regions.WT must hold"),
        (changed(regions={"XY": ["ED"]}), "unknown entries: XY"),
        (changed(case_id="("), "case_id must be a regular expression"),
    ],
)
def test_a_wrong_description_is_named(content, message):
    with pytest.raises(InputError, match=message):
        custom_edition(content)


def test_requests_about_custom_editions_are_named(clinic, raw):
    (clinic / "broken.toml").write_text("a = ")
    for options, message in [
        ({"edition": "custom"}, "--edition-file"),
        ({"edition": "2021", "edition_file": clinic / "mine.toml"}, "say two things"),
        ({"edition_file": clinic / "broken.toml"}, r"broken\.toml: not valid TOML"),
        ({"edition_file": clinic / "none.json"}, r"none\.json: cannot be read"),
    ]:
        with pytest.raises(InputError, match=message):
            convert([clinic / "clinic"], 5, **options)
