"""Exchanged sequences by their voxels: on a made-up brain where it is known what is bright, and on real cases."""

import numpy as np
import pytest
import SimpleITK as sitk

from dataset_conversion import convert
from dataset_conversion.exchanged import exchanged_by_content
from nnunet_resunet_ds.base.files import read_json

MM = (1.0, 1.0, 1.0)
ONE_PERCENT = 0.01


@pytest.fixture(scope="module")
def brain():
    """A ball of tissue with fluid in its middle and vessels in T1ce, all far below the surface."""
    side = 110
    distance = np.sqrt(sum((axis - side / 2) ** 2 for axis in np.ogrid[:side, :side, :side]))
    noise = np.random.default_rng(0)
    tissue = (distance < 52).astype(np.float32)
    values = {name: tissue * noise.normal(500, 40, tissue.shape) for name in ("T1", "T1ce", "T2", "FLAIR")}
    vessels = (distance < 35) & (noise.random(tissue.shape) < ONE_PERCENT)
    values["T1ce"][vessels] = 1000
    fluid = distance < 12
    for name, value in (("T1", 350), ("T1ce", 350), ("T2", 1100), ("FLAIR", 250)):
        values[name][fluid] = value + noise.normal(0, 20, fluid.sum())
    return values


def exchanged(values, one, other):
    return {**values, one: values[other], other: values[one]}


def test_the_right_order_is_not_warned_of(brain):
    assert exchanged_by_content(brain, MM) == []
    assert exchanged_by_content({name: brain[name] for name in ("T1ce", "FLAIR")}, MM) == []


@pytest.mark.parametrize(("one", "other", "words"), [("T1", "T1ce", "T1 enhances"), ("T2", "FLAIR", "bright in FLAIR")])
def test_two_that_are_exchanged_are_named(brain, one, other, words):
    (warning,) = exchanged_by_content(exchanged(brain, one, other), MM)
    assert warning.startswith(f"{one} and {other} exchanged?: ") and words in warning
    scaled = {name: values * (7 if name == one else 1) for name, values in exchanged(brain, one, other).items()}
    assert exchanged_by_content(scaled, MM) == [warning]  # whatever the scanner's unit


def test_what_is_small_or_no_bare_brain_is_not_judged(brain):
    wrong = exchanged(brain, "T2", "FLAIR")
    assert exchanged_by_content({name: values[40:70, 40:70, 40:70] for name, values in wrong.items()}, MM) == []
    heads = {name: np.where(values == 0, 30, values) for name, values in wrong.items()}
    assert exchanged_by_content(heads, MM) == []


def test_any_usual_name_of_a_sequence_is_known(brain):
    names = {"T1": "t1n", "T1ce": "T1-Gd", "T2": "T2w", "FLAIR": "t2f"}
    wrong = {names[name]: values for name, values in exchanged(brain, "T2", "FLAIR").items()}
    assert exchanged_by_content(wrong, MM) == exchanged_by_content(exchanged(brain, "T2", "FLAIR"), MM) != []


def test_a_training_case_is_warned_of(brain, nnunet_folders):
    case = nnunet_folders / "download" / "BraTS2021_00001"
    case.mkdir(parents=True)
    labels = np.zeros(brain["T1"].shape, np.uint8)
    labels[50:60, 50:60, 50:60] = ENHANCING
    for name, values in {**exchanged(brain, "T1", "T1ce"), "seg": labels}.items():
        image = sitk.GetImageFromArray(values.astype(np.int16))
        sitk.WriteImage(image, str(case / f"{case.name}_{name.lower()}.nii.gz"))
    entry = read_json(convert([case.parent], 137) / "conversion.json")["cases"][case.name]
    assert [warning.split(":")[0] for warning in entry["warnings"]] == ["T1 and T1ce exchanged?"]


def test_real_cases_are_told_apart(real_cases):
    """Each in its right order, with either pair exchanged, and so without the enhancing tumour."""
    files = sorted(real_cases.parent.rglob("*_t1.nii.gz"))
    assert files
    for file in files:
        start = file.name.removesuffix("_t1.nii.gz")
        image = {name: sitk.ReadImage(str(file.with_name(f"{start}_{name.lower()}.nii.gz"))) for name in BRATS}
        values = {name: sitk.GetArrayFromImage(one) for name, one in image.items()}
        assert exchanged_by_content({name: values[name] for name in BRATS[:4]}, MM) == [], start
        for one, other in (("T1", "T1ce"), ("T2", "FLAIR")):
            found = exchanged_by_content(exchanged({name: values[name] for name in BRATS[:4]}, one, other), MM)
            assert len(found) == 1, (start, one)
        healthy = {name: np.where(values["SEG"] == ENHANCING, 0, values[name]) for name in BRATS[:4]}
        assert exchanged_by_content(healthy, MM) == [], start


BRATS = ("T1", "T1ce", "T2", "FLAIR", "SEG")
ENHANCING = 4
