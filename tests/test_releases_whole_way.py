"""Downloads of new kinds from the raw folder to what is handed in, by the very commands: two epochs of tiny networks.

One release of each kind: other releases share channels, label values and grids with these, or with BraTS 2021.
"""

import json
import os
from dataclasses import dataclass

import numpy as np
import pytest
import SimpleITK as sitk
from brats_files import values_of
from releases import MNI152, NATIVE, SRI24, SRI24_RAS, Grid, write
from stock_runs import run, run_here

from dataset_conversion.editions import CHANNEL_NAMES, EDITIONS, SEGMENTATION
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


KINDS = {
    "2025-gli": Kind("BraTS-GLI-{:05d}-{}00", (SRI24, MNI152), "brats2025-gli", 6),
    "2025-met": Kind("BraTS-MET-{:05d}-000", (SRI24_RAS, NATIVE), "brats2026-met", 4, absent="T2"),
    "2026-ped": Kind("BraTS-PED-{:05d}-000", (SRI24,), "brats2026-ped", 6, whole_head=True),
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


@pytest.fixture(scope="module", params=KINDS)
def way(request, tmp_path_factory):
    """Go the whole way: (key of the release, folder, case → its grid)."""
    key = request.param
    kind, folder = KINDS[key], tmp_path_factory.mktemp("way")
    for number in range(5):
        case = kind.case.format(number, number % 2)
        write_case(folder / "train", folder / "train" / case, key, number)
    new = dict(write_case(folder / "new", folder / "truth", key, number) for number in (900, 901))
    variables = {f"nnUNet_{part}": str(folder / part) for part in ("raw", "preprocessed", "results")}
    variables |= {"nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "0"}
    planning = {**variables, "nnUNet_n_proc_DA": "1"}  # nnU-Net's planner does not take 0
    train, images, truth, labels = (str(folder / name) for name in ("train", "new", "truth", "labels"))
    compared = ("-pred", labels, "-ref", truth, "--ref-labels", key, "--protocol", kind.protocol)
    dropout = kind.absent is not None
    trainer = "ResUNetDSTrainerModalityDropout" if dropout else "ResUNetDSTrainer"
    allowed = ("--allow-missing", kind.absent) if dropout else ()
    plan_and_preprocess = ("nnUNetv2_plan_and_preprocess", "-d", "137", "-c", "3d_fullres", "-npfp", "1", "-np", "1")
    run_here(variables, "convert", train, "-d", "137", "--edition", key, *allowed)
    run({**os.environ, **planning}, *plan_and_preprocess)
    run_here(variables, "plan", "-d", "137", "--name", "Tiny", *PLAN)
    run({**os.environ, **variables}, "nnUNetv2_train", "137", "3d_fullres", "0", "-tr", trainer, *MODEL[6:])
    run_here(variables, "predict", "-i", images, "-o", labels, *MODEL, "-tr", trainer, *allowed)
    run_here(variables, "evaluate", *compared, "-o", str(folder / "metrics.json"))
    run_here(variables, "submission", "-i", labels, "-o", str(folder / "submission"), "--edition", key)
    run_here(variables, "report", "-i", images, *compared, "-o", str(folder / "page.html"))
    return key, folder, new


def test_the_network_has_the_channels_and_regions_of_the_release(way):
    key, folder, _ = way
    (model,) = (folder / "results").glob("*/ResUNetDSTrainer*")
    dataset_json = json.loads((model / "dataset.json").read_text())
    assert list(dataset_json["channel_names"].values()) == list(EDITIONS[key].channels)
    assert len(dataset_json["regions_class_order"]) == len(EDITIONS[key].regions)


def test_what_is_handed_in_has_names_values_and_grids_of_the_release(way):
    key, folder, new = way
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
    key, folder, new = way
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["cases"].keys() == new.keys()
    for regions in metrics["cases"].values():
        assert len(regions) == KINDS[key].regions and all("dice" in scores for scores in regions.values())


def test_what_cases_lack_is_noted(way):
    key, folder, new = way
    cases = json.loads((folder / "labels" / "run.json").read_text())["cases"]
    absent = KINDS[key].absent
    assert {case: entry.get("absent") for case, entry in cases.items()} == {
        case: [absent] if absent and int(case.split("-")[2]) % 3 == 0 else None for case in new
    }
