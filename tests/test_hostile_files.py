"""Every reader of ours on files that are damaged or made to do harm: a sound result or an InputError, nothing else."""

import io
import json
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from damage import VALUES, damaged_bytes, damaged_json, fuzz, fuzz_slowly
from hypothesis import example, given, settings
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dataset_conversion import convert
from dataset_conversion.custom_edition import read_custom_edition
from dataset_conversion.staging import edition_of, read_manifest
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.evaluation.metrics_file import read_metrics
from nnunet_resunet_ds.inference.load_model import checkpoint_files, load_model
from nnunet_resunet_ds.models.archive import unpack
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import SAFE_FINAL
from nnunet_resunet_ds.training.checkpoint.checkpoints import read_checkpoint
from nnunet_resunet_ds.training.checkpoint.safe_weights import write_safe_weights
from nnunet_resunet_ds.training.checkpoint.training_state import furthest_checkpoint
from nnunet_resunet_ds.training.planning.recipe import Recipe
from nnunet_resunet_ds.tuning.stored_case import read_stored_case
from nnunet_resunet_ds.tuning.validation_cases import validation_ids
from postprocessing.config import PostprocessingConfig
from postprocessing.folder import postprocess_folder
from postprocessing.probabilities import read_probabilities

# ---- probabilities ----


def npz(array, name="probabilities.npy"):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as entry:
        np.lib.format.write_array(entry, array)
    return stream.getvalue()


def test_probability_files(tmp_path):
    whole = npz(np.zeros((3, 4, 4, 4), np.float16))

    @fuzz
    @given(damaged_bytes(whole))
    def check(content):
        path = tmp_path / "damaged.npz"
        path.write_bytes(content)
        with suppress(InputError):
            read_probabilities(path)
        with suppress(InputError):
            read_stored_case(path)

    check()


def test_headers_of_arrays(tmp_path):
    """The zip is sound, the array in it says of itself what it likes."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.zeros((3, 4, 4, 4), np.float16))

    @fuzz
    @given(damaged_bytes(stream.getvalue(), last=128))
    def check(content):
        path = tmp_path / "damaged.npz"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("probabilities.npy", content)
        with suppress(InputError):
            read_probabilities(path)

    check()


def test_a_zip_bomb_is_refused_by_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr("nnunet_resunet_ds.base.npz.MAX_UNPACKED_BYTES", 2**20)
    path = tmp_path / "bomb.npz"
    path.write_bytes(npz(np.zeros((3, 128, 64, 64), np.float32)))
    assert path.stat().st_size < 2**16
    with pytest.raises(InputError, match="when unpacked"):
        read_probabilities(path)


class Harm:
    """Runs code when unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_nothing_of_ours_unpickles(tmp_path, model, nnunet_folders):
    """Arrays and checkpoints that would run code do not; and properties next to probabilities are read without it."""
    marker = tmp_path / "harmed"
    folder = tmp_path / "predictions"
    folder.mkdir()
    harm = np.array([Harm(marker)], dtype=object)
    (folder / "a.npz").write_bytes(npz(harm))
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 4, 4), np.uint8)), str(folder / "a.nii.gz"))
    (folder / "a.pkl").write_bytes(pickle.dumps(Harm(marker)))
    with pytest.raises(InputError):
        postprocess_folder(folder, tmp_path / "labels", PostprocessingConfig.paper())
    for content in (Harm(marker), {"network_weights": {}, "extra": Harm(marker)}):
        torch.save(content, model / "fold_0" / "checkpoint_final.pth")
        with pytest.raises(InputError, match="could run code"):
            load_model(model, [0])
    np.savez(tmp_path / "stored.npz", probabilities=harm, reference=harm, spacing=harm, image_shape=harm)
    with pytest.raises(InputError):
        read_stored_case(tmp_path / "stored.npz")
    assert not marker.exists()


# ---- checkpoints ----


def test_checkpoint_files(model):
    path = model / "fold_0" / "checkpoint_final.pth"
    whole = path.read_bytes()

    @fuzz_slowly
    @given(damaged_bytes(whole))
    def check(content):
        path.write_bytes(content)
        with suppress(InputError):
            load_model(model, [0])

    check()


def test_safe_weights(model):
    """Damage in the header, which is a few hundred bytes of JSON, and in the weights behind it."""
    path = model / "fold_0" / SAFE_FINAL
    write_safe_weights(read_checkpoint(model / "fold_0" / "checkpoint_final.pth"), path, half=True)
    (model / "fold_0" / "checkpoint_final.pth").unlink()
    (model / "fold_1" / "checkpoint_final.pth").unlink()
    whole = path.read_bytes()

    @fuzz_slowly
    @given(damaged_bytes(whole, 0, 20_000) | damaged_bytes(whole))
    def check(content):
        path.write_bytes(content)
        with suppress(InputError):
            load_model(model)

    check()


def test_what_the_header_of_safe_weights_holds(model):
    path = model / "fold_0" / SAFE_FINAL
    write_safe_weights(read_checkpoint(model / "fold_0" / "checkpoint_final.pth"), path, half=True)
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["nnunet"])
    weights = load_file(path)

    @fuzz_slowly
    @given(damaged_json(header))
    def check(text):
        save_file(weights, path, {"nnunet": text})
        with suppress(InputError):
            load_model(model, [0], SAFE_FINAL)

    check()


def test_zips_of_models(model, tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    assert main(["package", "-m", str(model), "-o", str(tmp_path / "model.zip")]) == 0
    whole = (tmp_path / "model.zip").read_bytes()
    before = {path.name for path in tmp_path.iterdir()} | {"damaged.zip", "unpacked"}
    n = 0

    @fuzz_slowly
    @given(damaged_bytes(whole) | damaged_bytes(whole, len(whole) - 3000))
    def check(content):
        nonlocal n
        n += 1
        (tmp_path / "damaged.zip").write_bytes(content)
        (tmp_path / "unpacked" / str(n)).mkdir(parents=True)
        with suppress(InputError):
            list(unpack(tmp_path / "damaged.zip", tmp_path / "unpacked" / str(n)))

    check()
    assert {path.name for path in tmp_path.iterdir()} == before
    assert not [path for path in tmp_path.rglob("*") if path.is_symlink()]


def test_what_checkpoints_hold(model):
    path = model / "fold_0" / "checkpoint_final.pth"
    whole = read_checkpoint(path)

    @settings(fuzz, max_examples=15)  # each writes some twenty checkpoints
    @given(VALUES, VALUES)
    @example([float("inf")], None)
    def check(one, other):
        for key in whole:
            for value in (one, {"configuration": one}, dict.fromkeys(whole["network_weights"], other)):
                torch.save({**whole, key: value}, path)
                with suppress(InputError):
                    load_model(model, [0])
        torch.save({**whole, "current_epoch": one}, path.with_name("checkpoint_latest.pth"))
        with suppress(InputError):
            furthest_checkpoint(path.parent)

    check()


# ---- JSON ----


@pytest.mark.parametrize("name", ["plans.json", "dataset.json"])
def test_the_json_files_of_a_model(model, name):
    whole = json.loads((model / name).read_text())

    @fuzz_slowly
    @given(damaged_json(whole))
    def check(text):
        (model / name).write_text(text)
        with suppress(InputError):
            load_model(model, [0])

    check()


def test_post_processing_settings(tmp_path):
    @fuzz
    @given(damaged_json(PostprocessingConfig.paper().to_mapping()))
    def check(text):
        (tmp_path / "postprocessing.json").write_text(text)
        with suppress(InputError):
            PostprocessingConfig.from_json(tmp_path / "postprocessing.json")

    check()


def test_recipes():
    @fuzz
    @given(VALUES, damaged_json(Recipe().to_mapping()))
    def check(section, text):
        with suppress(InputError):
            Recipe.from_section(section)
        with suppress(InputError, json.JSONDecodeError):
            Recipe.from_section(json.loads(text))

    check()


def test_metrics(tmp_path):
    numbers = dict.fromkeys(("dice", "hd95", "sensitivity", "specificity", "lesion_dice", "lesion_hd95"), 0.5)
    counts = dict.fromkeys(("n_tp", "n_fp", "n_fn", "reference_volume", "prediction_volume"), 1)
    case = {region: {**numbers, **counts} for region in ("WT", "TC", "ET")}
    whole = {"protocol": "brats2023-gli", "cases": {"BraTS-GLI-00000-000": case}}
    (tmp_path / "metrics.json").write_text(json.dumps(whole))
    assert read_metrics(tmp_path / "metrics.json").cases

    @fuzz
    @given(damaged_json(whole))
    def check(text):
        (tmp_path / "metrics.json").write_text(text)
        with suppress(InputError):
            read_metrics(tmp_path / "metrics.json")

    check()


def test_manifests(cohort, raw):
    """With any of them, the same conversion ends in a whole dataset, or is refused and leaves the one that is there."""
    dataset = convert([cohort], 137)
    manifest = dataset / "conversion.json"
    whole = json.loads(manifest.read_text())
    without_digest = json.loads(manifest.read_text())
    del without_digest["cases"]["BraTS2021_00000"]["images"]["T1"]["sha256"]

    @fuzz_slowly
    @given(damaged_json(whole))
    @example(json.dumps({**whole, "custom_edition": 1.0}))
    @example(json.dumps(without_digest))
    def check(text):
        manifest.write_text(text)
        found = read_manifest(dataset)
        if found is not None:
            with suppress(InputError):
                edition_of(found)
        with suppress(InputError):
            convert([cohort], 137)
        assert len(list((dataset / "imagesTr").iterdir())) == 8
        assert sorted(path.name for path in raw.iterdir()) == [dataset.name]

    check()


def test_descriptions_of_editions(tmp_path):
    whole = {
        "title": "Mine",
        "images": {"T1": "_t1", "T1ce": "_t1ce", "T2": "_t2", "FLAIR": "_flair"},
        "segmentation": "_seg",
        "labels": {"NCR": 1, "ED": 2, "ET": 4},
        "regions": {"WT": ["NCR", "ED", "ET"]},
        "case_id": "(?P<patient>.+)-\\d+",
    }
    (tmp_path / "edition.json").write_text(json.dumps(whole))
    assert read_custom_edition(tmp_path / "edition.json").title == "Mine"

    @fuzz
    @given(damaged_json(whole))
    def check(text):
        (tmp_path / "edition.json").write_text(text)
        with suppress(InputError):
            read_custom_edition(tmp_path / "edition.json")
        (tmp_path / "edition.toml").write_text(text)
        with suppress(InputError):
            read_custom_edition(tmp_path / "edition.toml")

    check()


def test_splits(model, dataset):
    splits = dataset[2] / "splits_final.json"
    whole = [{"train": ["a", "b"], "val": ["c"]}, {"train": ["c"], "val": ["a", "b"]}]

    @fuzz
    @given(damaged_json(whole))
    def check(text):
        splits.write_text(text)
        with suppress(InputError):
            for ids in validation_ids(model, checkpoint_files(model, [0, 1], "checkpoint_final.pth")).values():
                assert not any("/" in case_id for case_id in ids)

    check()


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 50_000, '"\\ud800"', "\xff", "", "NaN", "1" * 5000], ids=str.__len__
)
def test_json_that_parsers_stumble_over(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    with suppress(InputError):
        read_json(path)
    with suppress(InputError):
        PostprocessingConfig.from_json(path)
    path.rename(tmp_path / "x.toml")
    with suppress(InputError):
        read_custom_edition(tmp_path / "x.toml")


@pytest.mark.parametrize("case_id", ["../escape", "/etc/passwd", "a/b", "..", "a\\b", "a\0b", "", 7, None, "x" * 300])
def test_case_ids_that_lead_elsewhere_are_refused(model, dataset, cohort, raw, tmp_path, case_id):
    (dataset[2] / "splits_final.json").write_text(json.dumps([{"train": [], "val": [case_id]}] * 2))
    with pytest.raises(InputError, match=r"case id|expected a list of folds"):
        validation_ids(model, checkpoint_files(model, [0], "checkpoint_final.pth"))
    converted = convert([cohort], 137)
    manifest = json.loads((converted / "conversion.json").read_text())
    manifest["cases"][str(case_id)] = manifest["cases"].pop("BraTS2021_00000")
    (converted / "conversion.json").write_text(json.dumps(manifest))
    if isinstance(case_id, str):
        assert read_manifest(converted) is None


@pytest.mark.parametrize("name", ["../Dataset137_BraTS2021", "/tmp", "a/b", "", 5])
def test_dataset_names_in_plans_that_lead_elsewhere_are_refused(model, dataset, name):
    plans = json.loads((model / "plans.json").read_text())
    (model / "plans.json").write_text(json.dumps({**plans, "dataset_name": name}))
    with pytest.raises(InputError, match="dataset_name"):
        validation_ids(model, checkpoint_files(model, [0], "checkpoint_final.pth"))
