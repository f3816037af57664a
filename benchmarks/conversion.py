"""Conversion of a cohort of full size, ours against the functions of nnU-Net's own BraTS 2021 script.

Made-up cases of 240 × 240 × 155 voxels, each method in a process of its own, all in turn, twice. nnU-Net's way copies
the images and translates the labels, one case after the other, and checks the label values only.

    python benchmarks/conversion.py -o /tmp/conversion --cases 200
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from nnunetv2.dataset_conversion.Dataset137_BraTS21 import copy_BraTS_segmentation_and_convert_labels_to_nnUNet
from scipy.ndimage import zoom
from tqdm import tqdm

from dataset_conversion import EDITIONS, convert
from dataset_conversion.editions import CHANNEL_NAMES, SEGMENTATION
from dataset_conversion.labels import raw_labels
from dataset_conversion.write import LinkMode
from nnunet_resunet_ds.base.nnunet_folders import NNUNET_FOLDERS
from nnunet_resunet_ds.demo.phantom import make_phantom

EDITION = EDITIONS["2021"]
FULL_SHAPE = (155, 240, 240)
N_DIFFERENT = 4
"""Phantoms that are made; the other cases are copies of their files."""
ROUNDS = 2


def full_size(values: np.ndarray) -> np.ndarray:
    """Double a phantom and pad it to BraTS' size."""
    doubled = zoom(values, 2, order=0)
    padding = [((n - m) // 2, n - m - (n - m) // 2) for n, m in zip(FULL_SHAPE, doubled.shape, strict=True)]
    return np.pad(doubled, padding)


def make_cohort(folder: Path, n_cases: int) -> None:
    """Write the cohort in the BraTS 2021 layout."""
    for number in tqdm(range(n_cases), desc="make cases", unit="case"):
        case = folder / f"BraTS2021_{number:05d}"
        case.mkdir(parents=True)
        if number < N_DIFFERENT:
            phantom = make_phantom(number)
            values = dict(zip(CHANNEL_NAMES, phantom.images, strict=True))
            values[SEGMENTATION] = raw_labels(phantom.labels, EDITION.tissues)
            for role, volume in values.items():
                sitk.WriteImage(
                    sitk.GetImageFromArray(full_size(volume)), str(case / EDITION.file_name(case.name, role))
                )
        else:
            original = folder / f"BraTS2021_{number % N_DIFFERENT:05d}"
            for role in (*CHANNEL_NAMES, SEGMENTATION):
                shutil.copyfile(
                    original / EDITION.file_name(original.name, role), case / EDITION.file_name(case.name, role)
                )


def nnunet_way(cohort: Path, target: Path) -> None:
    """Do what the script's main block does, with its own function for the labels."""
    for folder in ("imagesTr", "labelsTr"):
        (target / folder).mkdir(parents=True)
    for case in sorted(cohort.iterdir()):
        for channel, name in enumerate(CHANNEL_NAMES):
            shutil.copy(
                case / EDITION.file_name(case.name, name), target / "imagesTr" / f"{case.name}_{channel:04d}.nii.gz"
            )
        copy_BraTS_segmentation_and_convert_labels_to_nnUNet(
            str(case / EDITION.file_name(case.name, SEGMENTATION)), str(target / "labelsTr" / f"{case.name}.nii.gz")
        )


def our_way(cohort: Path, target: Path, *, validate: bool = True, link_mode: LinkMode = "hardlink") -> None:
    """Convert as ``resunet-ds convert`` does."""
    os.environ[NNUNET_FOLDERS[0]] = str(target)
    convert([cohort], 1, validate=validate, link_mode=link_mode)


METHODS: dict[str, Callable[[Path, Path], None]] = {
    "nnU-Net's functions": nnunet_way,
    "ours --no-validate": partial(our_way, validate=False),
    "ours --no-validate --copy": partial(our_way, validate=False, link_mode="copy"),
    "ours": our_way,
}


def measure(method: str, cohort: Path, target: Path, results: "multiprocessing.Queue[tuple[float, float]]") -> None:
    """Run one method here and report seconds and peak memory in MiB."""
    start = time.perf_counter()
    METHODS[method](cohort, target)
    results.put((time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def in_a_process(method: str, cohort: Path, target: Path) -> tuple[float, float]:
    """Run one method in a new process and return seconds and peak memory in MiB."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=measure, args=(method, cohort, target, results))
    process.start()
    measured: tuple[float, float] = results.get()
    process.join()
    shutil.rmtree(target)
    return measured


def main() -> None:
    """Make the cohort, run every method in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", dest="output", type=Path, required=True, help="a new folder, removed at the end")
    parser.add_argument("--cases", type=int, default=200)
    options = parser.parse_args()
    if options.output.exists():
        parser.error(f"{options.output} exists; give a new folder with -o")
    sizes = {"a quarter": max(options.cases // 4, 1), "whole": options.cases}
    for name, n_cases in sizes.items():
        make_cohort(options.output / name, n_cases)
    results: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(ROUNDS):
        for name in sizes:
            for method in METHODS:
                measured = in_a_process(method, options.output / name, options.output / "target")
                results.setdefault((name, method), []).append(measured)
    print(f"{'cases':>5}  {'method':26}  {'cases/s':>16}  {'peak MiB':>8}")
    for (name, method), runs in results.items():
        rates = ", ".join(f"{sizes[name] / seconds:.2f}" for seconds, _ in runs)
        print(f"{sizes[name]:5}  {method:26}  {rates:>16}  {max(peak for _, peak in runs):8.0f}")
    shutil.rmtree(options.output)


if __name__ == "__main__":
    main()
