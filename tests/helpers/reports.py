"""A small made-up cohort with predictions, for the tests of the report."""

import json

import numpy as np
import SimpleITK as sitk
from brats_files import MODALITIES, write

from nnunet_resunet_ds.base.regions import REGIONS
from nnunet_resunet_ds.uncertainty.maps import ENTROPY, MAPS, write_maps

SHAPE = (22, 26, 24)
CASES = ("BraTS2021_00001", "BraTS2021_00002", "BraTS2021_00003")
SPACING = (1.0, 1.0, 1.5)


def ball(centre, radius):
    distances = np.linalg.norm(np.indices(SHAPE).T - np.array(centre), axis=-1).T
    return distances <= radius


def make_images(folder, case, seed):
    """A bright ellipsoid with noise, dark around."""
    random = np.random.default_rng(seed)
    brain = ball((11, 13, 12), 10)
    for modality in MODALITIES:
        values = np.where(brain, random.normal(500, 60, SHAPE), 0).clip(0).astype(np.int16)
        write(folder / case / f"{case}_{modality}.nii.gz", values, spacing=SPACING)


def tumour(centre, et=2):
    """In nnU-Net's values: oedema, core and enhancing tumour round one centre."""
    labels = np.zeros(SHAPE, np.uint8)
    for value, radius in ((1, 6), (2, 4), (3, et)):
        labels[ball(centre, radius)] = value
    return labels


TO_CLASSIC = np.array([0, 2, 1, 4], np.uint8)
PREDICTED = {CASES[0]: (11, 13, 13), CASES[1]: (13, 16, 12), CASES[2]: (11, 12, 11)}


def make_cohort(folder, cases=CASES):
    """Write images and references as a BraTS 2021 download, and predictions before and after post-processing."""
    for number, case in enumerate(cases):
        make_images(folder / "raw", case, number)
        write(folder / "raw" / case / f"{case}_seg.nii.gz", TO_CLASSIC[tumour((11, 13, 12))], spacing=SPACING)
        after = tumour(PREDICTED.get(case, (11, 13, 12)))
        before = np.where(ball((4, 13, 12), 1), 3, after).astype(np.uint8)
        write(folder / "labels" / f"{case}.nii.gz", after, spacing=SPACING)
        write(folder / "before" / f"{case}.nii.gz", before, spacing=SPACING)
    for name in ("labels", "before"):
        (folder / name / "run.json").write_text(json.dumps({"labels": "nnunet", "cases": {case: {} for case in cases}}))
    return folder


def add_a_false_lesion(folder, case):
    """Predict oedema far from the tumour, in 7 voxels of 1.5 mm³ round (20, 20, 19)."""
    predicted = tumour(PREDICTED[case])
    predicted[ball((20, 20, 19), 1)] = 1
    write(folder / "labels" / f"{case}.nii.gz", predicted, spacing=SPACING)


def note_training_cases(folder, cases):
    """Note in run.json, as ``predict`` does, that the model may have been trained on these cases."""
    run_file = folder / "labels" / "run.json"
    run = json.loads(run_file.read_text())
    for case in cases:
        run["cases"][case]["warnings"] = ["dark: T1", "a training case?: the model was trained on one of this name"]
    run_file.write_text(json.dumps(run))


def note_certainty(folder, expected_dice, with_maps=()):
    """Note in run.json what ``predict`` would of cases; and write maps in which the region is all undecided.

    Args:
        folder: of the cohort.
        expected_dice: case → the Dice of WT that is expected.
        with_maps: cases that have maps.
    """
    run_file = folder / "labels" / "run.json"
    run = json.loads(run_file.read_text())
    for case, dice in expected_dice.items():
        numbers = {"volume": 1000.0, "least_volume": 800.0, "largest_volume": 1500.0, "entropy_inside": 1 - dice}
        run["cases"][case]["certainty"] = {region.name: dict(numbers) for region in REGIONS}
        run["cases"][case]["certainty"]["WT"]["expected_dice"] = dice
    for case in with_maps:
        grid = sitk.ReadImage(str(folder / "labels" / f"{case}.nii.gz"))
        labels = sitk.GetArrayFromImage(grid)
        maps = {ENTROPY: np.stack([region.mask(labels).astype(np.float32) for region in REGIONS])}
        write_maps(folder / "labels", case, REGIONS, maps, grid)
        run["cases"][case][MAPS] = [f"uncertainty/{case}_{region.name}_{ENTROPY}.nii.gz" for region in REGIONS]
    run_file.write_text(json.dumps(run))
