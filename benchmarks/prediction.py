"""Seconds and peak memory of predicting one full-size case: ours beside ``nnUNetv2_predict``, with the same weights.

    python benchmarks/prediction.py [--case FOLDER] [--rounds 2] [--flips] [--patch 128] [--device cpu] [--forms …]

The paper's network with random weights; the forms take turns, each a command of its own, start-up included. Without
``--case`` (a folder with the four images of a BraTS 2021 case) the case is made up: 240 × 240 × 155, a brain of
137 × 163 × 135.
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

from dataset_conversion.editions import EDITIONS
from dataset_conversion.write import write_dataset_json
from nnunet_resunet_ds.benchmark.material import FULL, stock_plans
from nnunet_resunet_ds.plans import with_res_unet_ds

SHAPE, BRAIN = (155, 240, 240), (135, 163, 137)
MODALITIES = ("t1", "t1ce", "t2", "flair")
CASE = "BraTS2021_00000"
BIN = Path(sys.executable).parent
STOCK = "nnUNetv2_predict"
FORMS = {
    STOCK: ([], {}),
    "ours, fp32": (["--precision", "fp32"], {"nnUNet_compile": "0"}),
    "ours, bf16": (["--precision", "bf16"], {"nnUNet_compile": "0"}),
    "ours, as it decides": ([], {}),
    "ours, fp32, compiled": (["--precision", "fp32"], {"nnUNet_compile": "1"}),
    "ours, fp32, --tiles whole": (["--precision", "fp32", "--tiles", "whole"], {}),
}


def main() -> None:
    """Run the forms in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=Path, help="folder of a BraTS 2021 case")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--flips", action="store_true", help="eight flips in every form")
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        images = _images(root / "imagesTs", options.case)
        model = _model(root / "Dataset137_BraTS2021/ResUNetDSTrainer__nnUNetPlans__3d_fullres", options.patch)
        seconds: dict[str, list[float]] = {form: [] for form in options.forms}
        for number in range(options.rounds):
            for form in options.forms:
                seconds[form].append(_run(form, images, model, root / f"out_{number}_{form}", options))
                print(f"{form}: {seconds[form][-1]:.1f} s", flush=True)
        _print_table(seconds, root, options)


def _images(folder: Path, case: Path | None) -> Path:
    folder.mkdir()
    for channel, modality in enumerate(MODALITIES):
        target = folder / f"{CASE}_{channel:04d}.nii.gz"
        if case:
            target.symlink_to(next(case.glob(f"*_{modality}.nii.gz")).resolve())
            continue
        values = np.zeros(SHAPE, np.int16)
        box = tuple(
            slice((whole - size) // 2, (whole - size) // 2 + size) for whole, size in zip(SHAPE, BRAIN, strict=True)
        )
        values[box] = np.random.default_rng(channel).integers(100, 900, BRAIN)
        sitk.WriteImage(sitk.GetImageFromArray(values), str(target))
    return folder


def _model(folder: Path, patch: int) -> Path:
    """Write a model folder of random weights."""
    (folder / "fold_0").mkdir(parents=True)
    write_dataset_json(folder, EDITIONS["2021"], n_training=5)
    stock = {**stock_plans(FULL), "dataset_name": "Dataset137_BraTS2021"}
    plans = with_res_unet_ds(stock, "3d_fullres", patch_size=(patch, patch, patch)).plans
    (folder / "plans.json").write_text(json.dumps(plans))
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    torch.manual_seed(0)
    network = get_network_from_plans(
        architecture["network_class_name"], architecture["arch_kwargs"], [], 4, 3, deep_supervision=True
    )
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": "ResUNetDSTrainer",
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
    return folder


def _run(form: str, images: Path, model: Path, output: Path, options: argparse.Namespace) -> float:
    flags, settings = FORMS[form]
    common = ["-i", str(images), "-o", str(output), "-device", options.device]
    if form == STOCK:
        command = [str(BIN / STOCK), *common, "-d", "137", "-c", "3d_fullres", "-f", "0", "-tr", "ResUNetDSTrainer"]
        command += ["-npp", "1", "-nps", "1", *([] if options.flips else ["--disable_tta"])]
    else:
        command = [str(BIN / "resunet-ds"), "predict", *common, "-m", str(model), "--preset", "nnunet"]
        command += ["--average", "logits", *flags, *([] if options.flips else ["--no-tta"])]
    environment = {**os.environ, "nnUNet_results": str(model.parents[1]), "nnUNet_def_n_proc": "2", **settings}
    environment |= {f"nnUNet_{kind}": str(model.parents[1]) for kind in ("raw", "preprocessed")}
    start = time.perf_counter()
    with (output.parent / f"{output.name}.log").open("w") as log:
        subprocess.run(
            [sys.executable, __file__, "--measured", *command], env=environment, stdout=log, stderr=log, check=True
        )
    return time.perf_counter() - start


def _measured(command: list[str]) -> None:
    """Run a command and print the peak memory of its largest process."""
    code = subprocess.run(command, check=False).returncode
    print(f"peak {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024} MiB", flush=True)
    sys.exit(code)


def _print_table(seconds: dict[str, list[float]], root: Path, options: argparse.Namespace) -> None:
    first = options.forms[0]
    print(f"\n{'form':28}{'seconds':>18}{f'× {first}':>22}{'peak MiB':>10}   label maps")
    for form, times in seconds.items():
        ratios = [baseline / own for baseline, own in zip(seconds[first], times, strict=True)]
        log = (root / f"out_0_{form}.log").read_text()
        peak = max(int(found) for found in re.findall(r"peak (\d+) MiB", log))
        shown = ", ".join(f"{value:.0f}" for value in times)
        print(f"{form:28}{shown:>18}{statistics.median(ratios):22.2f}{peak:10}   {_agreement(root, first, form)}")


def _agreement(root: Path, first: str, form: str) -> str:
    """Return the share of voxels with the same label."""
    one, other = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(root / f"out_0_{name}" / f"{CASE}.nii.gz"))) for name in (first, form)
    )
    return f"{(one == other).mean():.4%} alike"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measured"]:
        _measured(sys.argv[2:])
    main()
