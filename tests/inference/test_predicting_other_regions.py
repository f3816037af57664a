"""Models of other channels and regions than BraTS' glioma, against nnU-Net's own prediction and label manager."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from brats_files import values_of, write
from models import predict
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from region_datasets import KINDS, RADIOTHERAPY, SHAPE, make_images, write_region_model

from dataset_conversion.declared_labels import declared_convention
from dataset_conversion.label_conventions import NNUNET_CONVENTION
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.regions import Target, Tissue
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.evaluation.label_maps import find_label_maps
from nnunet_resunet_ds.inference import Predictor
from nnunet_resunet_ds.inference.load_model import load_model

CASES = ("case_0", "case_1")


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def images(tmp_path, kind):
    folder = tmp_path / "images"
    for number, case in enumerate(CASES):
        make_images(folder, case, kind, number)
    return folder


@pytest.fixture
def region_model(dataset, tmp_path, kind):
    return write_region_model(tmp_path / "model", dataset[0], kind, folds=(0, 1))


def stack(images, case, kind):
    return np.stack([values_of(images / f"{case}_{number:04d}.nii.gz") for number in range(len(kind.channels))])


@pytest.fixture
def stock(images, region_model, tmp_path, kind):
    """What ``nnUNetv2_predict --save_probabilities`` leaves, made in this process."""
    folder = tmp_path / "stock"
    folder.mkdir()
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(region_model), (0, 1), "checkpoint_final.pth")
    for case in CASES:
        grid = sitk.ReadImage(str(images / f"{case}_0000.nii.gz"))
        geometry = {name: getattr(grid, f"Get{name.capitalize()}")() for name in ("spacing", "origin", "direction")}
        properties = {"sitk_stuff": geometry, "spacing": list(grid.GetSpacing()[::-1])}
        predictor.predict_single_npy_array(
            stack(images, case, kind).astype(np.float32), properties, None, str(folder / case), True
        )
    for name in ("dataset.json", "plans.json"):
        shutil.copy(region_model / name, folder / name)
    return folder


def test_postprocess_of_what_nnunet_saved_is_nnunet_s_label_map(stock, tmp_path):
    for flags in ((), ("--preset", "nnunet")):
        assert main(["postprocess", "-i", str(stock), "-o", str(tmp_path / "ours"), *flags]) == 0
        for case in CASES:
            written = values_of(tmp_path / "ours" / f"{case}.nii.gz")
            np.testing.assert_array_equal(written, values_of(stock / f"{case}.nii.gz"))
            assert len(np.unique(written)) > 1


def test_predict_is_what_nnunet_predicts(images, region_model, stock, tmp_path, kind):
    flags = ("--average", "logits", "--precision", "fp32", "--save-probabilities")
    assert predict(images, tmp_path / "out", region_model, *flags) == 0
    for case in CASES:
        ours, theirs = (np.load(folder / f"{case}.npz")["probabilities"] for folder in (tmp_path / "out", stock))
        np.testing.assert_allclose(ours, theirs, atol=2e-3)
        decided = (np.abs(theirs - 0.5) > 2e-3).all(0)
        labels = [values_of(folder / f"{case}.nii.gz")[decided] for folder in (tmp_path / "out", stock)]
        np.testing.assert_array_equal(*labels)
        assert decided.mean() > 0.9
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["postprocessing"]["tumour_regions"] is False and run["labels"] == "nnunet"
    assert set(run["cases"][CASES[0]]["mean_probability"]) <= {
        region.name for region in load_model(region_model).regions
    }


def test_what_predict_saved_is_post_processed_to_the_same(images, region_model, tmp_path):
    assert predict(images, tmp_path / "out", region_model, "--save-probabilities") == 0
    assert main(["postprocess", "-i", str(tmp_path / "out"), "-o", str(tmp_path / "again")]) == 0
    for case in CASES:
        one, other = (values_of(tmp_path / folder / f"{case}.nii.gz") for folder in ("out", "again"))
        np.testing.assert_array_equal(one, other)
    said = [json.loads((tmp_path / folder / "run.json").read_text())["regions"] for folder in ("out", "again")]
    assert said[0] == said[1] and said[0]


BAD = {
    "setting of WT where there is none": ("--wt", "0.4"),
    "preset of the paper where WT is not": ("--preset", "paper"),
    "step of ET where there is none": ("--steps", "et_total"),
    "threshold of another region": ("--threshold", "RC=0.4"),
    "labels of other tissues": ("--labels", "2021"),
}


@pytest.mark.parametrize("flags", BAD, ids=BAD)
@pytest.mark.parametrize("kind", [RADIOTHERAPY], ids=["one region"], indirect=True)
def test_what_is_of_other_regions_is_refused_in_one_line(images, region_model, tmp_path, capsys, flags, bad_input):
    assert predict(images, tmp_path / "out", region_model, *BAD[flags]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "Traceback" not in error
    bad_input("predict", f"regions: {flags}", error)
    assert not (tmp_path / "out").exists()


def test_a_threshold_of_the_region_counts(images, region_model, tmp_path, kind):
    name, label = {1: ("GTV", 1), 2: ("vessel", 3)}[len(kind.order)]
    assert predict(images, tmp_path / "out", region_model, "--threshold", f"{name}=0.6", "--save-probabilities") == 0
    values = np.load(tmp_path / "out" / f"{CASES[0]}.npz")["probabilities"][-1]
    np.testing.assert_array_equal(values_of(tmp_path / "out" / f"{CASES[0]}.nii.gz") == label, values > np.float32(0.6))


def test_an_ensemble_needs_the_same_regions(dataset, images, region_model, tmp_path, kind, capsys):
    other = write_region_model(tmp_path / "other", dataset[0], kind)
    assert predict(images, tmp_path / "both", region_model, "-m", str(other)) == 0
    content = json.loads((other / "dataset.json").read_text())
    content["labels"] = {
        name.replace("gross", "net").replace("Cyst", "cavity"): v for name, v in content["labels"].items()
    }
    (other / "dataset.json").write_text(json.dumps(content))
    assert predict(images, tmp_path / "out", region_model, "-m", str(other)) == 2
    assert "an ensemble needs the same" in capsys.readouterr().err


# ---- what the label values mean ----


def test_label_maps_say_whose_regions_they_are_and_are_taken_for_no_others(
    images, region_model, tmp_path, kind, capsys
):
    assert predict(images, tmp_path / "out", region_model) == 0
    files = sorted((tmp_path / "out").glob("*.nii.gz"))
    convention = declared_convention(files).convention
    assert convention != NNUNET_CONVENTION and convention.key == "nnunet"
    assert convention.tissues == ({0: Target.BACKGROUND, 1: Target.GTV} if kind is RADIOTHERAPY else {})
    assert find_label_maps(tmp_path / "out").convention == convention
    for file in files:
        write(tmp_path / "reference" / file.name, np.ones(SHAPE, np.uint8))
    capsys.readouterr()
    evaluate = ["evaluate", "-ref", str(tmp_path / "reference"), "-pred", str(tmp_path / "out")]
    for protocol in ("brats2023-gli", "brats2021"):
        assert main([*evaluate, "-o", str(tmp_path / "metrics.json"), "--protocol", protocol]) == 2
        assert "have no counterpart" in capsys.readouterr().err
    submission = ["submission", "-i", str(tmp_path / "out"), "-o", str(tmp_path / "handed in"), "--edition", "2021"]
    assert main(submission) == 2
    assert "has the label values of nnU-Net (" in capsys.readouterr().err


@pytest.mark.parametrize("edition", ["2023-gli", "2024-gli", "msd"])
def test_label_values_of_an_edition_of_other_tissues_are_refused(images, region_model, tmp_path, capsys, edition):
    assert predict(images, tmp_path / "out", region_model, "--labels", edition) == 2
    assert "has no label for nnU-Net's" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [RADIOTHERAPY], ids=["one region"], indirect=True)
def test_label_values_of_radiotherapy_are_those_of_its_edition(images, region_model, tmp_path):
    for labels in ("nnunet", "menrt"):
        assert predict(images, tmp_path / labels, region_model, "--labels", labels) == 0
    for case in CASES:
        np.testing.assert_array_equal(*(values_of(tmp_path / each / f"{case}.nii.gz") for each in ("nnunet", "menrt")))
    assert declared_convention((tmp_path / "menrt").glob("*.nii.gz")).convention.key == "menrt"


def test_tissues_are_not_handed_in_as_targets(tmp_path, capsys):
    write(tmp_path / "out" / "BraTS-MEN-RT-0001-1.nii.gz", np.ones(SHAPE, np.uint8))
    run = {"labels": "nnunet", "cases": {"BraTS-MEN-RT-0001-1": {}}}
    (tmp_path / "out" / "run.json").write_text(json.dumps(run))
    words = ["submission", "-i", str(tmp_path / "out"), "--edition", "menrt"]
    assert main([*words, "-o", str(tmp_path / "a")]) == 2
    assert "labels other things" in capsys.readouterr().err
    (tmp_path / "out" / "run.json").write_text(json.dumps({**run, "regions": {"gross tumor volume": [1]}}))
    assert main([*words, "-o", str(tmp_path / "b")]) == 0


def test_labels_of_two_kinds_are_never_equal():
    assert Target.GTV == 1 and Tissue.ED == 1 and Target.GTV != Tissue.ED
    assert {Tissue.ED: "oedema"}.get(Target.GTV) is None and {1: "one"}[Target.GTV] == "one"
    assert Target.GTV not in NNUNET_CONVENTION.tissues.values()
    assert not Target.GTV == Tissue.ED and not Target.GTV != Target.GTV and not Target.GTV != 1  # noqa: SIM201, SIM202
    values = np.array([0, 1, 2])
    for compared in (values == Target.GTV, Target.GTV == values, ~(Target.GTV != values)):  # noqa: SIM300
        np.testing.assert_array_equal(compared, [False, True, False])


@pytest.mark.parametrize("kind", [RADIOTHERAPY], ids=["one region"], indirect=True)
def test_a_model_of_one_sequence_takes_its_file(tmp_path, images, region_model):
    model = region_model
    file = images / f"{CASES[0]}_0000.nii.gz"
    assert main(["predict", "--t1ce", str(file), "-o", str(tmp_path / "a.nii.gz"), "-m", str(model), "--no-tta"]) == 0
    labels, _ = Predictor.from_model_folder(model, use_mirroring=False).predict_case([file])
    np.testing.assert_array_equal(values_of(tmp_path / "a.nii.gz"), labels)
    with pytest.raises(InputError, match="one channel each of T1ce"):
        Predictor.from_model_folder(model).predict_case(np.ones((2, *SHAPE)), (1, 1, 1))
