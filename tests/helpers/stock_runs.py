"""The stock commands and ours, and a dataset of nnU-Net's own BraTS 2021 script for them."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from brats_files import write
from nnunetv2.dataset_conversion.Dataset137_BraTS21 import copy_BraTS_segmentation_and_convert_labels_to_nnUNet
from nnunetv2.dataset_conversion.generate_dataset_json import generate_dataset_json

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.demo.phantom import make_phantom


def as_nnunet_s_script_does(raw: Path, sources: Path) -> None:
    """Do what the main block of nnunetv2.dataset_conversion.Dataset137_BraTS21 does, with its own functions."""
    dataset = raw / "Dataset137_BraTS2021"
    for folder in ("imagesTr", "labelsTr"):
        (dataset / folder).mkdir(parents=True)
    for number in range(5):
        case, phantom = f"BraTS2021_{number:05d}", make_phantom(number)
        for channel, image in enumerate(phantom.images):
            write(dataset / "imagesTr" / f"{case}_{channel:04d}.nii.gz", image[::2, ::2, ::2])
        brats = (phantom.labels == 1) * 2 + (phantom.labels == 2) * 1 + (phantom.labels == 3) * 4
        write(sources / f"{case}_seg.nii.gz", brats[::2, ::2, ::2].astype("uint8"))
        copy_BraTS_segmentation_and_convert_labels_to_nnUNet(
            str(sources / f"{case}_seg.nii.gz"), str(dataset / "labelsTr" / f"{case}.nii.gz")
        )
    generate_dataset_json(
        str(dataset),
        channel_names={0: "T1", 1: "T1ce", 2: "T2", 3: "Flair"},
        labels={"background": 0, "whole tumor": (1, 2, 3), "tumor core": (2, 3), "enhancing tumor": (3,)},
        num_training_cases=5,
        file_ending=".nii.gz",
        regions_class_order=(1, 2, 3),
        dataset_release="1.0",
    )


def preprocessed_dataset(folder):
    """Make it, preprocessed, below nnU-Net's three folders, and return the variables that its commands need."""
    variables = {f"nnUNet_{kind}": str(folder / kind) for kind in ("raw", "preprocessed", "results")}
    variables |= {"nnUNet_def_n_proc": "1", "nnUNet_n_proc_DA": "1", "PYTHONUNBUFFERED": "1"}
    as_nnunet_s_script_does(folder / "raw", folder / "sources")
    planning = ("nnUNetv2_plan_and_preprocess", "-d", "137", "-c", "3d_fullres", "-npfp", "1", "-np", "1")
    run({**os.environ, **variables}, *planning)
    return variables


def command(*words):
    return [str(Path(sys.executable).parent / words[0]), *words[1:]]


def run(environment, *words, code=0):
    done = subprocess.run(
        command(*words), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == code, f"exit code {done.returncode}: {done.stdout[-3000:]}"
    return done.stdout


def run_here(variables, *words):
    """Run a command of ours in this process, where all that it imports is imported already."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        for name, value in variables.items():
            patch.setenv(name, value)
        assert main(list(words)) == 0, printed.getvalue()[-3000:]
    return printed.getvalue()
