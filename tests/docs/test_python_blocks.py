"""The Python blocks of the documentation run, page by page, on small made-up data; those of a page share names."""

import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import CASES, make_case
from clusters import Cluster
from code_blocks import PAGES, blocks_of
from models import small_plans, write_model

from nnunet_resunet_ds.inference import Predictor

BLOCKS = {page.name: found for page in PAGES if (found := [b for b in blocks_of(page) if b.language == "python"])}
AS_FILES = ("cluster.md", "cluster_costs.md")
"""Pages whose blocks start processes, so that each has to be a file of its own."""
SMALLER = {
    "36, 0, Anatomy(": "1, 0, Anatomy(",
    '"phantoms"), 15, 4)': '"phantoms"), 1, 1)',
    "[0.02] * 300": "[0.02] * 30",
    "[0.0] * 50": "[0.0] * 5",
}
"""What would take minutes."""
MODEL = "results/ResUNetDSTrainer__nnUNetPlans__3d_fullres"


@pytest.fixture
def stage(dataset, tmp_path, monkeypatch):
    """A working folder with all that the blocks name: images of a case, a cohort, a model."""
    images = brain()
    for name, image in zip(("t1", "t1ce", "t2", "flair"), images, strict=True):
        sitk.WriteImage(sitk.GetImageFromArray(image), str(tmp_path / f"{name}.nii.gz"))
    for folder in ("BraTS2021_train", "reference", "labels"):
        for seed, case in enumerate(CASES):
            make_case(tmp_path / folder, case, seed=seed)
    write_probabilities(tmp_path / "probabilities")
    plans, dataset_json, _ = dataset
    write_model(tmp_path / MODEL, small_plans(plans), dataset_json)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_probabilities(folder):
    """What ``predict --save-probabilities`` leaves of one case."""
    folder.mkdir()
    probabilities = np.random.default_rng(0).random((3, 4, 5, 6), dtype=np.float32)
    np.savez(folder / "CASE.npz", probabilities=probabilities)
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6), np.uint8)), str(folder / "CASE.nii.gz"))


def brain():
    """Four images (4, Z, Y, X) of a brain as large as one patch, so that one tile is enough."""
    images = np.random.default_rng(0).integers(1, 900, (4, 16, 16, 16)).astype(np.int16)
    return np.pad(images, [(0, 0), *[(2, 2)] * 3])


@pytest.mark.parametrize("page", [name for name in BLOCKS if name not in AS_FILES])
def test_blocks_run_in_their_order(page, stage):
    names = {"images": brain(), "predictor": Predictor.from_model_folder(stage / MODEL, device="cpu")}
    for block in BLOCKS[page]:
        exec(compile(smaller(block.code), block.place, "exec"), names)
    if page == "postprocess.md":
        own = sitk.GetArrayFromImage(sitk.ReadImage(str(stage / "own" / "CASE.nii.gz")))
        nested = np.load(stage / "probabilities" / "CASE.npz")["probabilities"].__gt__(0.5).cumprod(axis=0).sum(axis=0)
        np.testing.assert_array_equal(own, nested)


@pytest.mark.long
@pytest.mark.parametrize("block", [b for name in AS_FILES for b in BLOCKS[name]], ids=lambda block: block.place)
def test_blocks_that_start_processes_run_as_files(block, stage):
    cluster = Cluster(stage)
    cluster.add_worker()
    file = stage / "block.py"
    file.write_text(smaller(block.code).replace("tcp://HOST:8786", cluster.address), encoding="utf-8")
    try:
        subprocess.run([sys.executable, file], check=True, timeout=300)
    finally:
        cluster.close()


def smaller(code):
    for large, small in SMALLER.items():
        code = code.replace(large, small)
    return code


def test_what_is_made_smaller_is_there():
    everything = "".join(block.code for found in BLOCKS.values() for block in found)
    assert all(large in everything for large in SMALLER)
