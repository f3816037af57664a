"""Made-up nnU-Net datasets of other channels and regions than those of BraTS' glioma, and small models of them."""

import json
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from brats_files import write
from models import small_plans, write_model

SHAPE = (6, 7, 8)


@dataclass(frozen=True)
class Kind:
    channels: tuple[str, ...]
    labels: dict
    order: tuple[int, ...]

    @property
    def dataset_json(self):
        return {
            "channel_names": {str(number): name for number, name in enumerate(self.channels)},
            "labels": self.labels,
            "regions_class_order": list(self.order),
            "numTraining": 6,
            "file_ending": ".nii.gz",
        }


RADIOTHERAPY = Kind(("T1ce",), {"background": 0, "gross tumor volume": [1, 1]}, (1,))
APART = Kind(("T1ce", "FLAIR"), {"background": 0, "Cyst": [1, 2], "vessel": 3}, (2, 3))
"""Neither region lies inside the other; of the cyst's two labels, the second is painted."""
CYSTIC = Kind(
    ("T1", "T1ce", "T2", "FLAIR"),
    {"background": 0, "whole tumor": [1, 2, 3, 4], "tumor core": [2, 3, 4], "enhancing tumor": 3, "CC": 4},
    (1, 2, 3, 4),
)
KINDS = {"one region": RADIOTHERAPY, "two regions": APART}


def plans_of(plans, kind):
    """The plans of the fixture ``dataset``, for other channels."""
    plans, n = deepcopy(plans), len(kind.channels)
    plans["configurations"]["3d_fullres"] |= {
        "normalization_schemes": ["ZScoreNormalization"] * n,
        "use_mask_for_norm": [True] * n,
    }
    return plans


def make_images(folder, case, kind, seed=0):
    """Write the images of a case by nnU-Net's names."""
    random = np.random.default_rng(seed)
    for channel in range(len(kind.channels)):
        write(folder / f"{case}_{channel:04d}.nii.gz", random.integers(1, 900, SHAPE, dtype=np.int16))


def labels_of(kind, seed=0):
    """A label map (Z, Y, X) with every label of a dataset."""
    values = sorted({int(value) for values in kind.labels.values() for value in np.atleast_1d(values)})
    return np.random.default_rng(seed).choice(np.array(values, np.uint8), SHAPE)


def write_region_model(folder, plans, kind, folds=(0,)):
    return write_model(folder, small_plans(plans_of(plans, kind)), kind.dataset_json, folds)


def write_trained(folder, plans, kind):
    """Write a dataset of six cases and a model of two folds below nnU-Net's folders; return (model folder, all ids)."""
    name = plans["dataset_name"]
    raw, preprocessed, results = (folder / f"nnUNet_{each}" / name for each in ("raw", "preprocessed", "results"))
    preprocessed.mkdir(exist_ok=True)
    ids = [f"case_{number}" for number in range(6)]
    for number, case in enumerate(ids):
        make_images(raw / "imagesTr", case, kind, number)
        for maps in (raw / "labelsTr", preprocessed / "gt_segmentations"):
            write(maps / f"{case}.nii.gz", labels_of(kind, number))
    for each in (raw, preprocessed):
        (each / "dataset.json").write_text(json.dumps(kind.dataset_json))
    splits = [{"train": ids[3:], "val": ids[:3]}, {"train": ids[:3], "val": ids[3:]}]
    (preprocessed / "splits_final.json").write_text(json.dumps(splits))
    return write_region_model(results / "ResUNetDSTrainer__nnUNetPlans__3d_fullres", plans, kind, (0, 1)), ids
