"""The tutorial in pictures: made from what a demo has left, small, and the commands of its page those of the demo."""

import re

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from code_blocks import PROJECT
from models import small_plans, write_model
from PIL import Image

from dataset_conversion import convert
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json, write_json
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.demo.phantom import Anatomy, make_cohort
from nnunet_resunet_ds.demo.run_demo import DATASET_ID, DATASET_NAME
from nnunet_resunet_ds.experiments.tutorial import __main__ as command
from nnunet_resunet_ds.experiments.tutorial import screenshot
from nnunet_resunet_ds.experiments.tutorial.demo_folder import DemoFolder
from nnunet_resunet_ds.experiments.tutorial.make_tutorial import PICTURES, make_tutorial

PAGE = PROJECT / "docs" / "start" / "tutorial.md"
MOST_BYTES, MOST_BYTES_TOGETHER = 150_000, 1_000_000
EPOCHS = 3


@pytest.fixture
def small_demo(tmp_path, dataset, monkeypatch):
    """A folder as a demo leaves it, of two small held-out phantoms and a network with random weights."""
    folder = tmp_path / "demo"
    for kind in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{kind}", str(folder / f"nnUNet_{kind}"))
    (folder / "nnUNet_raw").mkdir(parents=True)
    anatomy = Anatomy(shape=(40, 44, 40), brain_radii=(16, 18, 16), noise=(30, 60))
    training, held_out, truth = make_cohort(folder / "phantoms", 2, 2, anatomy)
    convert([training, held_out], DATASET_ID, DATASET_NAME)
    write_json(
        {"cases": ["a"], "untrained_dice": DICE, "dice": {"before": DICE, "after": DICE}}, folder / "summary.json"
    )
    demo = DemoFolder(folder)
    write_predictions(demo, truth)
    write_trained_model(demo, dataset)
    compared = ["-ref", str(truth), "-pred", str(demo.workflow.labels), "--pred-labels", "nnunet"]
    assert main(["evaluate", *compared, "-o", str(folder / "metrics.json")]) == 0
    return demo


DICE = {"WT": 0.91, "TC": 0.82, "ET": 0.73}


def write_predictions(demo, truth):
    """Predict the truth, before post-processing with a block of enhancing tumour in the first case."""
    for number, file in enumerate(sorted(truth.rglob("*.nii.gz"))):
        image = sitk.ReadImage(str(file))
        raw = sitk.GetArrayFromImage(image)
        labels = np.select([raw == 2, raw == 1, raw == 4], [1, 2, 3]).astype(np.uint8)
        with_block = labels.copy()
        with_block[20:22, 20:23, 20:22] = 3
        before = with_block if number == 0 else labels
        for folder, values in ((demo.workflow.labels, labels), (demo.workflow.predictions, before)):
            folder.mkdir(exist_ok=True)
            painted = sitk.GetImageFromArray(values)
            painted.CopyInformation(image)
            sitk.WriteImage(painted, str(folder / file.name.replace("_seg", "")))


def write_trained_model(demo, dataset):
    plans, dataset_json, _ = dataset
    checkpoint = (
        write_model(demo.workflow.model_folder, small_plans(plans), dataset_json) / "fold_0/checkpoint_final.pth"
    )
    falling = [1 - epoch / 10 for epoch in range(EPOCHS)]
    logged = dict.fromkeys(("train_losses", "val_losses", "lrs"), falling)
    logged |= {name: [[value] * 2 for value in falling] for name in ("head_losses", "head_dice")}
    torch.save({**torch.load(checkpoint, weights_only=False), "logging": logged}, checkpoint)


def test_the_page_and_its_pictures(small_demo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(screenshot.shutil, "which", lambda name: None)
    page = tmp_path / "docs" / "walk.md"
    command.main(["--demo", str(small_demo.folder), "-o", str(page)])
    assert "no Chromium" in capsys.readouterr().err
    assert {file.name for file in (tmp_path / "docs" / "walk").iterdir()} == {f"{name}.png" for name in PICTURES}
    text = page.read_text(encoding="utf-8")
    assert f"after {EPOCHS} epochs" in text and "0.8200" in text
    metrics = read_json(small_demo.folder / "metrics.json")["summary"]
    assert f"| WT | {metrics['WT']['dice']['mean']:.3g} |" in text
    changed = sum(np.count_nonzero(case.before != case.after) for case in small_demo.cases)
    assert changed and re.search(rf"{changed} voxels", text)
    assert commands_of(page) == commands_of(PAGE)


def commands_of(page):
    """The blocks of a page that are typed, which no run of the demo changes."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```(?:bash|python)\n.*?^```", text, re.MULTILINE | re.DOTALL)


def test_the_pictures_of_the_docs_are_small_and_have_words():
    text = PAGE.read_text(encoding="utf-8")
    shown = re.findall(r"!\[([^\]]+)\]\((tutorial/\w+\.png)\)", text)
    files = {PAGE.parent / name for _, name in shown}
    assert files == set((PAGE.parent / "tutorial").iterdir()) and {*PICTURES} <= {file.stem for file in files}
    assert all(len(words) > 40 for words, _ in shown)
    assert_small(files)


def assert_small(files):
    sizes = [file.stat().st_size for file in files]
    assert max(sizes) < MOST_BYTES and sum(sizes) < MOST_BYTES_TOGETHER


def test_a_folder_without_a_demo_is_refused(tmp_path):
    with pytest.raises(InputError, match="no finished demo"):
        DemoFolder(tmp_path)


def test_empty_rows_at_the_end_are_cut_off():
    picture = Image.new("RGB", (30, 200), "white")
    picture.putpixel((3, 50), (0, 0, 0))
    assert screenshot.without_empty_rows(picture).size == (30, 51 + screenshot.MARGIN)
    assert screenshot.without_empty_rows(Image.new("RGB", (30, 20), "white")).size == (30, 20)


@pytest.mark.long
@pytest.mark.demo
def test_it_is_made_from_the_demo(demo, tmp_path):
    folder, _ = demo
    page, *pictures = make_tutorial(DemoFolder(folder), tmp_path / "tutorial.md")
    assert {*PICTURES} <= {picture.stem for picture in pictures}
    assert_small(pictures)
    assert commands_of(page) == commands_of(PAGE)
