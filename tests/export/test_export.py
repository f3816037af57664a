"""``resunet-ds export``: what another runtime gets is what PyTorch computes, and all that it needs to know."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from brats_files import CASES, MODALITIES, values_of
from models import small_plans, stock_plans, write_model

from dataset_conversion.editions import EDITIONS
from dataset_conversion.write import write_dataset_json
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.export import export_model, onnx_graph
from nnunet_resunet_ds.export.description import description_of
from nnunet_resunet_ds.export.parity import structured_patch
from nnunet_resunet_ds.inference import Predictor
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.inference.prediction_settings import config_of_models
from postprocessing import PostprocessingConfig, postprocess

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")
SHAPE = (4, 16, 16, 16)


def export(model, output, *flags):
    return main(["export", "--onnx", str(output), "-m", str(model), *flags])


def awakened(model):
    """Let all branches count: nnU-Net begins with residual blocks that do nothing."""
    for file in model.glob("fold_*/checkpoint_final.pth"):
        content = torch.load(file)
        for name, weight in content["network_weights"].items():
            if "norm" in name:
                weight.normal_(1, 0.5, generator=torch.Generator().manual_seed(len(name)))
        torch.save(content, file)
    return model


@pytest.fixture(scope="module")
def kept():
    return {}


@pytest.fixture
def exported(model, kept, tmp_path_factory):
    """Folder of a model of two folds, and of what was made of it: ``a_fold_0.onnx``, ``a_fold_1.onnx``, ``a.json``."""
    if not kept:
        kept["model"] = shutil.copytree(awakened(model), tmp_path_factory.mktemp("kept") / "model")
        kept["out"] = kept["model"].parent / "new" / "out"
        assert export(kept["model"], kept["out"] / "a.onnx") == 0
    return kept["model"], kept["out"]


def run(file, patches):
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": patches})[0]


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def of_pytorch(model, fold, patches):
    loaded = load_model(model)
    network = loaded.build_network()
    network.load_state_dict(loaded.weights[fold])
    with torch.no_grad():
        return network(torch.from_numpy(patches)).numpy()


@pytest.mark.parametrize("batch", [1, 3])
def test_the_graph_computes_what_pytorch_does_for_any_batch(exported, batch):
    model, out = exported
    assert names_in(out) == ["a.json", "a_fold_0.onnx", "a_fold_1.onnx"]
    patches = np.random.default_rng(batch).normal(size=(batch, *SHAPE)).astype(np.float32)
    patches[:, :, :5] = 0  # where the salient channel, which is inside, must be 0
    for fold in "01":
        expected = of_pytorch(model, fold, patches)
        np.testing.assert_allclose(run(out / f"a_fold_{fold}.onnx", patches), expected, atol=1e-3)
    assert np.abs(expected).max() > 0.5  # it says something


def test_the_salient_channel_is_inside_the_graph(exported):
    """What lies below 0.01 in all channels is background, so it counts less than what lies above."""
    _, out = exported
    told = json.loads((out / "a.json").read_text())
    assert told["preprocessing"]["salient_channel"] == {"inside_the_graph": True, "any_channel_above": 0.01}
    assert told["input"]["shape"][1] == 4
    faint = np.full((1, *SHAPE), 0.0099, np.float32)
    half, seen = faint.copy(), faint.copy()
    half[..., 8:], seen[..., 8:] = 0.00999, 0.01001
    logits = [run(out / "a_fold_0.onnx", patches) for patches in (faint, half, seen)]
    assert np.abs(logits[2] - logits[0]).max() > 10 * np.abs(logits[1] - logits[0]).max()


def test_onnx_and_json_are_enough_to_predict_a_case(cohort, exported):
    """By numpy and onnxruntime alone, with nothing but what the JSON says: one tile, no flips."""
    model, out = exported
    told = json.loads((out / "a.json").read_text())
    names = dict(zip(("T1", "T1ce", "T2", "FLAIR"), MODALITIES, strict=True))
    files = [cohort / CASES[0] / f"{CASES[0]}_{names[name]}.nii.gz" for name in told["input"]["channels"]]
    images = np.stack([values_of(file) for file in files]).astype(np.float32)
    brain = (images != 0).any(axis=0)
    assert told["preprocessing"]["spacing_mm"] == [1, 1, 1]
    for image, how in zip(images, told["preprocessing"]["normalisation"], strict=True):
        assert (how["scheme"], how["inside_nonzero_only"]) == ("ZScoreNormalization", True)
        image[brain] = (image[brain] - image[brain].mean()) / image[brain].std()
        image[~brain] = 0
    patch = np.zeros((1, *told["input"]["shape"][1:]), np.float32)
    patch[0, :, 5:11, 4:11, 4:12] = images
    mean = np.mean([sigmoid(run(out / entry["file"], patch)) for entry in told["files"]], axis=0)
    labels, expected = Predictor.from_model_folder(model, use_mirroring=False, precision="fp32").predict_case(files)
    np.testing.assert_allclose(mean[0, :, 5:11, 4:11, 4:12], expected, atol=1e-3)
    regions = told["output"]["regions"]
    assert [(r["name"], r["labels"], r["threshold"], r["paints"]) for r in regions] == [
        ("WT", [1, 2, 3], 0.45, 1), ("TC", [2, 3], 0.4, 2), ("ET", [3], 0.45, 3),
    ]  # fmt: skip
    assert told["at_threshold"] == "inside" and told["preprocessing"]["reorient_to"] is None
    config = PostprocessingConfig.from_mapping(told["postprocessing"])
    np.testing.assert_array_equal(postprocess(mean[0, :, 5:11, 4:11, 4:12], config), labels)
    assert told["labels"] == {"0": "background", "1": "ED", "2": "NCR", "3": "ET"}
    assert told["inference"]["patch_size"] == [16, 16, 16] and told["inference"]["mirror_axes"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("edition", "labels", "name"),
    [
        ("2024-gli", ["background", "ED", "NCR", "ET", "resection cavity"], "RC"),
        ("menrt", ["background", "GTV"], "GTV"),
    ],
)
def test_further_and_other_regions_have_names_and_thresholds(dataset, tmp_path, edition, labels, name):
    plans, _, folder = dataset
    (folder / "dataset.json").unlink()
    write_dataset_json(folder, EDITIONS[edition], n_training=5)
    dataset_json = json.loads((folder / "dataset.json").read_text())
    n_channels = len(dataset_json["channel_names"])
    for key in ("normalization_schemes", "use_mask_for_norm"):
        plans["configurations"]["3d_fullres"][key] = plans["configurations"]["3d_fullres"][key][:n_channels]
    model = write_model(tmp_path / "other", small_plans(plans), dataset_json)
    config = config_of_models([load_model(model)]).with_threshold(name, 0.3)
    told = description_of(load_model(model), config, [])
    assert list(told["labels"].values()) == labels
    last = told["output"]["regions"][-1]
    assert (last["name"], last["labels"], last["paints"], last["threshold"]) == (
        name, [len(labels) - 1], len(labels) - 1, 0.3,
    )  # fmt: skip
    assert told["input"]["shape"][1] == n_channels


def test_a_stock_network_of_nnunet_is_exported_as_well(dataset, tmp_path):
    plans, dataset_json, _ = dataset
    model = write_model(tmp_path / "stock", stock_plans(plans), dataset_json, trainer="nnUNetTrainer")
    assert export(model, tmp_path / "out" / "a.onnx") == 0
    assert names_in(tmp_path / "out") == ["a.json", "a.onnx"]
    patches = structured_patch(SHAPE)[None]
    expected = of_pytorch(model, "0", patches)
    np.testing.assert_allclose(run(tmp_path / "out" / "a.onnx", patches), expected, atol=1e-3)


def test_the_files_name_no_path_of_this_machine(exported):
    _, out = exported
    content = b"".join((out / name).read_bytes() for name in names_in(out))
    assert b".py" not in content and str(Path.cwd()).encode() not in content and str(out).encode() not in content


def test_another_network_in_the_file_is_noticed_and_nothing_is_left(exported, tmp_path, monkeypatch, capsys, bad_input):
    """The second file holds the network of the first fold: the first, which is right, does not get its name either."""
    model, out = exported
    monkeypatch.setattr(export_model, "write_graph", lambda _, __, path: shutil.copy(out / "a_fold_0.onnx", path))
    (tmp_path / "a_fold_0.onnx").write_bytes(b"of an earlier export")
    assert export(model, tmp_path / "a.onnx") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "a_fold_1.onnx: its probabilities differ from PyTorch's by" in error and "nothing is written" in error
    assert not list(tmp_path.glob("*.json"))
    assert (tmp_path / "a_fold_0.onnx").read_bytes() == b"of an earlier export"
    assert not list(tmp_path.glob(".*")) and not (tmp_path / "a_fold_1.onnx").exists()
    bad_input("export", OTHER_VALUES, re.sub("by [^,]*,", "by (…),", error))


OTHER_VALUES = "other values than PyTorch"
BAD = {
    "another ending": (["--onnx", "a.pt"], "give a name that ends in .onnx"),
    "two models": (["--onnx", "a.onnx", "-m", "elsewhere"], "give one model with -m"),
    "no such fold": (["--onnx", "a.onnx", "-f", "7"], "no checkpoint_final.pth in fold 7"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_exported_is_said_in_a_line(model, tmp_path, monkeypatch, capsys, kind, bad_input):
    monkeypatch.chdir(tmp_path)
    words, said = BAD[kind]
    before = names_in(tmp_path)
    assert main(["export", "-m", str(model), *words]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1
    assert names_in(tmp_path) == before
    bad_input("export", kind, error)


WITHOUT_EXTRA = "extra export absent"


def test_without_the_extra_one_line_says_what_to_install(model, tmp_path, monkeypatch, capsys, bad_input):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "onnxscript" else there(name, *a))
    assert export(model, tmp_path / "a.onnx") == 2
    error = capsys.readouterr().err
    assert "pip install 'nnunet-resunet-ds[export]'" in error and len(error.splitlines()) == 1
    assert not (tmp_path / "a.onnx").exists()
    bad_input("export", WITHOUT_EXTRA, error)


def test_norms_of_many_voxels_are_exact(tmp_path):
    """Where onnxruntime's own instance norm is off by 1e-3: two million voxels, far from zero, half of them zero."""
    norm = torch.nn.InstanceNorm3d(2, affine=True).eval()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    onnx_graph.write_graph(norm, (2, 128, 128, 128), tmp_path / "norm.onnx")
    x = np.random.default_rng(0).normal(7, 3, (1, 2, 128, 128, 128)).astype(np.float32)
    x[:, :, :40] = 0
    exact = x.astype(np.float64)
    exact = (exact - exact.mean((2, 3, 4), keepdims=True)) / np.sqrt(exact.var((2, 3, 4), keepdims=True) + norm.eps)
    weight, bias = (p.detach().numpy().reshape(2, 1, 1, 1) for p in (norm.weight, norm.bias))
    np.testing.assert_allclose(run(tmp_path / "norm.onnx", x), exact * weight + bias, atol=1e-5)


def test_a_json_of_something_else_is_not_replaced(model, tmp_path, capsys):
    (tmp_path / "plans.json").write_text("{}")
    assert export(model, tmp_path / "plans.onnx") == 2
    assert "is there, and no export wrote it" in capsys.readouterr().err
    assert (tmp_path / "plans.json").read_text() == "{}" and names_in(tmp_path / ".") != []
    assert not list(tmp_path.glob("*.onnx"))
