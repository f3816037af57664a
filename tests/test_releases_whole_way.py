"""Downloads of new kinds from the raw folder to what is handed in: two epochs of tiny networks by the stock commands.

One release of each kind, among them mixed spacings, whole heads in noise and absent sequences. Other releases share
channels, label values and grids with these, or with BraTS 2021.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import values_of
from releases import MNI152, NATIVE, SRI24, SRI24_RAS, Grid, write
from stock_runs import run, run_here

from dataset_conversion.editions import CHANNEL_NAMES, EDITIONS, SEGMENTATION
from nnunet_resunet_ds.base.images import geometry_difference
from nnunet_resunet_ds.base.regions import Target, Tissue
from nnunet_resunet_ds.demo.phantom import make_phantom

pytestmark = pytest.mark.long

MODEL = ("-d", "137", "-c", "3d_fullres", "-f", "0", "-p", "Tiny", "-device", "cpu")
PLAN = ("--patch-size", "16", "16", "16", "--features", "4", "8", "12", "--epochs", "2", "--iterations", "4",
        "--val-iterations", "2", "--lr", "1e-2", "--seed", "0")  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """What is new about a release."""

    case: str
    """Ids of its cases, with a place for a number."""
    grids: tuple[Grid, ...]
    """That its cases take turns on."""
    protocol: str
    regions: int
    absent: str | None = None
    """A channel that every third case lacks."""
    whole_head: bool = False
    """Whether noise lies around the brain."""
    ending: str = ".nii.gz"
    """Of what is handed in."""
    resampled: int = 0
    """How many of the five training cases have another spacing than the plans."""
    stock: bool = False
    """Whether stock nnU-Net predicts, too."""


KINDS = {
    "2025-met": Kind(
        "BraTS-MET-{:05d}-000", (SRI24_RAS, NATIVE), "brats2026-met", 4, absent="T2", resampled=2, stock=True
    ),
    "2026-ped": Kind("BraTS-PED-{:05d}-000", (SRI24, MNI152), "brats2026-ped", 6, whole_head=True),
    "menrt": Kind("BraTS-MEN-RT-{:04d}-1", (NATIVE,), "brats2025-menrt", 1, whole_head=True, ending="_gtv.nii.gz"),
}


def labels_of(key, phantom):
    """The phantom's labels in the values of a release, with some of its further tissue, or as one target."""
    labels = phantom.labels[::2, ::2, ::2].astype(int)
    if key == "menrt":
        return np.where(labels > 0, int(Target.GTV), 0).astype(np.uint8)
    rim = np.argwhere(labels == Tissue.ED)[::5]
    labels[tuple(rim.T)] = Tissue.FURTHER
    raw = {int(tissue): value for value, tissue in EDITIONS[key].tissues.items()}
    return np.vectorize(raw.get)(labels).astype(np.uint8)


def write_case(images_folder, labels_folder, key, number):
    """Write a case, and return its id and the grid that it lies on."""
    kind, edition, phantom = KINDS[key], EDITIONS[key], make_phantom(number)
    case, grid = kind.case.format(number, number % 2), kind.grids[number % len(kind.grids)]
    for channel in edition.channels:
        if channel == kind.absent and number % 3 == 0:
            continue
        image = phantom.images[CHANNEL_NAMES.index(channel)]
        if kind.whole_head:
            image = np.where(image == 0, np.random.default_rng(number).integers(5, 200, image.shape), image)
        write(
            grid.image(image[::2, ::2, ::2].astype(np.int16)), images_folder / case / edition.file_name(case, channel)
        )
    write(grid.image(labels_of(key, phantom)), labels_folder / edition.file_name(case, SEGMENTATION))
    return case, grid


@dataclass(frozen=True)
class Way:
    """What the commands left and printed."""

    key: str
    """Of the release."""
    folder: Path
    new: dict[str, Grid]
    """Cases that were predicted."""
    planned: str
    trained: str

    @property
    def model(self):
        (model,) = (self.folder / "results").glob("*/ResUNetDSTrainer*")
        return model


@pytest.fixture(scope="module", params=KINDS)
def way(request, tmp_path_factory):
    """Go the whole way with one release."""
    key = request.param
    kind, folder = KINDS[key], tmp_path_factory.mktemp("way")
    for number in range(5):
        case = kind.case.format(number, number % 2)
        write_case(folder / "train", folder / "train" / case, key, number)
    new = dict(write_case(folder / "new", folder / "truth", key, number) for number in (900, 901))
    variables = {f"nnUNet_{part}": str(folder / part) for part in ("raw", "preprocessed", "results")}
    variables |= {"nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "0"}
    nnunet = {**os.environ, **variables, "nnUNet_n_proc_DA": "1"}  # its planner and its prediction do not take 0
    train, images, truth, labels = (str(folder / name) for name in ("train", "new", "truth", "labels"))
    compared = ("-pred", labels, "-ref", truth, "--ref-labels", key, "--protocol", kind.protocol)
    trainer = "ResUNetDSTrainerModalityDropout" if kind.absent else "ResUNetDSTrainer"
    allowed = ("--allow-missing", kind.absent) if kind.absent else ()
    predicted_by = (*MODEL, "-tr", trainer)
    run_here(variables, "convert", train, images, "-d", "137", "--edition", key, *allowed)
    run(nnunet, "nnUNetv2_plan_and_preprocess", "-d", "137", "-c", "3d_fullres", "-npfp", "1", "-np", "1")
    planned = run_here(variables, "plan", "-d", "137", "--name", "Tiny", *PLAN)
    trained = run({**os.environ, **variables}, "nnUNetv2_train", "137", "3d_fullres", "0", "-tr", trainer, *MODEL[6:])
    run_here(variables, "predict", "-i", images, "-o", labels, *predicted_by, *allowed)
    run_here(variables, "evaluate", *compared, "-o", str(folder / "metrics.json"))
    run_here(variables, "submission", "-i", labels, "-o", str(folder / "submission"), "--edition", key)
    run_here(variables, "report", "-i", images, *compared, "-o", str(folder / "page.html"))
    if kind.stock:
        (images_ts,) = (folder / "raw").glob("*/imagesTs")
        ours, stock = (str(folder / name) for name in ("ours", "stock"))
        as_stock = ("--average", "logits", "--preset", "nnunet", "--precision", "fp32")
        run_here(variables, "predict", "-i", str(images_ts), "-o", ours, *predicted_by, *allowed, *as_stock)
        run(nnunet, "nnUNetv2_predict", "-i", str(images_ts), "-o", stock, *predicted_by, "-npp", "1", "-nps", "1")
    return Way(key, folder, new, planned, trained)


def test_the_network_has_the_channels_and_regions_of_the_release(way):
    dataset_json = json.loads((way.model / "dataset.json").read_text())
    assert list(dataset_json["channel_names"].values()) == list(EDITIONS[way.key].channels)
    assert len(dataset_json["regions_class_order"]) == len(EDITIONS[way.key].regions)


def test_resampled_cases_and_whole_heads_are_told_in_one_line(way):
    kind = KINDS[way.key]
    resampled = [line for line in way.trained.splitlines() if "cases are resampled" in line]
    assert len(resampled) == bool(kind.resampled)
    assert not resampled or f"{kind.resampled} of 5 cases are resampled, for example from 1.5 × " in resampled[0]
    plans = json.loads((way.model / "plans.json").read_text())["configurations"]["3d_fullres"]
    assert plans["use_mask_for_norm"] == [not kind.whole_head] * len(EDITIONS[way.key].channels)
    assert plans["architecture"]["arch_kwargs"]["salient_channel"] is not kind.whole_head
    assert ("gets no salient channel" in way.planned) == kind.whole_head
    assert "Validation complete" in way.trained


def test_ours_and_stock_nnunet_agree_on_each_image_s_own_grid(way):
    """Where images are resampled, ours sets the background back to 0 before the network, and stock does not.

    The networks have learned next to nothing in two epochs: many probabilities lie near 0.5, and differences show.
    """
    if not KINDS[way.key].stock:
        pytest.skip("stock nnU-Net predicts one release, for time")
    found = {
        name: [sitk.ReadImage(str(way.folder / name / f"{case}.nii.gz")) for case in way.new]
        for name in ("ours", "stock")
    }
    for ours, stock, grid in zip(found["ours"], found["stock"], way.new.values(), strict=True):
        assert geometry_difference(ours, stock) is None
        assert ours.GetSpacing() == pytest.approx(grid.spacing, abs=1e-5)
        is_resampled = grid.spacing != (1.0, 1.0, 1.0)
        agreement = (sitk.GetArrayFromImage(ours) == sitk.GetArrayFromImage(stock)).mean()
        assert agreement > (0.9 if is_resampled else 0.999)
    assert any(sitk.GetArrayFromImage(image).any() for image in found["ours"])


def test_what_is_handed_in_has_names_values_and_grids_of_the_release(way):
    key, folder, new = way.key, way.folder, way.new
    handed_in = {path.name for path in (folder / "submission").glob("*.nii.gz")}
    assert handed_in == {f"{case}{KINDS[key].ending}" for case in new}
    for case, grid in new.items():
        label_map = sitk.ReadImage(str(folder / "submission" / f"{case}{KINDS[key].ending}"))
        assert label_map.GetSpacing() == pytest.approx(grid.spacing, abs=1e-5)
        assert label_map.GetOrigin() == pytest.approx(grid.origin, abs=1e-4)
        assert label_map.GetDirection() == pytest.approx(np.diag(grid.direction).ravel().tolist())
        assert label_map.GetSize() == make_phantom(900).labels[::2, ::2, ::2].shape[::-1]
    found = {int(value) for case in new for value in np.unique(values_of(folder / "labels" / f"{case}.nii.gz"))}
    back = {
        int(value)
        for case in new
        for value in np.unique(values_of(folder / "submission" / f"{case}{KINDS[key].ending}"))
    }
    to_raw = {int(tissue): value for value, tissue in EDITIONS[key].tissues.items()}
    assert back == {to_raw[value] for value in found} <= set(EDITIONS[key].tissues)


def test_every_region_of_the_protocol_is_scored(way):
    key, folder, new = way.key, way.folder, way.new
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["cases"].keys() == new.keys()
    for regions in metrics["cases"].values():
        assert len(regions) == KINDS[key].regions and all("dice" in scores for scores in regions.values())


def test_what_cases_lack_is_noted(way):
    key, folder, new = way.key, way.folder, way.new
    cases = json.loads((folder / "labels" / "run.json").read_text())["cases"]
    absent = KINDS[key].absent
    assert {case: entry.get("absent") for case, entry in cases.items()} == {
        case: [absent] if absent and int(case.split("-")[2]) % 3 == 0 else [] for case in new
    }
