"""What nnU-Net's preprocessing leaves of a dataset, without its images, for the tests of what goes by it."""

import json
import pickle
import shutil

import numpy as np
from augmented import made_up_sample
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2


def write_preprocessed(folder, cases, shape=(135, 163, 137), spacing=(1.0, 1.0, 1.0), fingerprint_of=None):
    """Write the properties of each case, and a fingerprint of these cases or of so many."""
    data = folder / "nnUNetPlans_3d_fullres"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    for case in cases:
        properties = {"spacing": list(spacing), "shape_after_cropping_and_before_resampling": shape}
        (data / f"{case}.pkl").write_bytes(pickle.dumps(properties))
    n = len(cases) if fingerprint_of is None else fingerprint_of
    fingerprint = {"spacings": [list(spacing)] * n, "shapes_after_crop": [list(shape)] * n}
    (folder / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))


def write_split(folder, *validated, cases):
    """Write a split of which each fold is validated on some of the cases and trained on the others."""
    folds = [{"train": sorted(set(cases) - set(val)), "val": list(val)} for val in validated]
    (folder / "splits_final.json").write_text(json.dumps(folds))


def write_training_data(folder, n=5, shape=(24, 26, 22), change=lambda image, labels: (image, labels)):
    """Write made-up cases as nnU-Net's preprocessing does, with what its loaders read of them.

    ``change`` makes other data of images (4, Z, Y, X) and labels (1, Z, Y, X), which are -1 in the background.
    """
    cases = [f"case_{number}" for number in range(n)]
    write_preprocessed(folder, cases, shape)
    for number, case in enumerate(cases):
        image, labels = change(*(values.numpy() for values in made_up_sample(shape, seed=number)))
        file = folder / "nnUNetPlans_3d_fullres" / case
        properties = pickle.loads(file.with_suffix(".pkl").read_bytes())
        places = {label: np.argwhere(labels == label) for label in np.unique(labels[labels > 0]).tolist()}
        nnUNetDatasetBlosc2.save_case(image, labels, {**properties, "class_locations": places}, str(file))
