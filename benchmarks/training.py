"""Seconds of a training step on this CPU: nnU-Net's own step and ours, on the same network, patch and batch.

The network is the paper's as far as the patch lets it be deep. All forms take turns in one run, after one step each to
warm up; with bf16 where this processor is faster in it, as the trainer decides.

    python benchmarks/training.py --patch 64 --rounds 3
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from dataset_conversion.editions import EDITIONS
from dataset_conversion.write import write_dataset_json
from nnunet_resunet_ds.files import read_json, write_json
from nnunet_resunet_ds.nnunet_folders import NNUNET_FOLDERS
from nnunet_resunet_ds.plans import with_res_unet_ds
from nnunet_resunet_ds.precision import bf16_is_faster, convolution_seconds

CPU = torch.device("cpu")
DATASET = "Dataset001_Benchmark"


def made_up_dataset(folder: Path, patch: int, batch_size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write what a trainer reads before it has data; return plans and dataset.json."""
    for name in NNUNET_FOLDERS:
        os.environ[name] = str(folder / name)
    preprocessed = folder / NNUNET_FOLDERS[1] / DATASET
    preprocessed.mkdir(parents=True)
    write_dataset_json(preprocessed, EDITIONS["2021"], n_training=5)
    shape = [float(patch)] * 3
    write_json({"spacings": [[1.0] * 3], "shapes_after_crop": [shape]}, preprocessed / "dataset_fingerprint.json")
    configuration = {
        "data_identifier": "none",
        "patch_size": [patch] * 3,
        "median_image_size_in_voxels": shape,
        "spacing": [1.0] * 3,
        "normalization_schemes": ["ZScoreNormalization"] * 4,
        "use_mask_for_norm": [True] * 4,
        "architecture": {},
    }
    stock = {
        "dataset_name": DATASET,
        "plans_name": "Benchmark",
        "transpose_forward": [0, 1, 2],
        "label_manager": "LabelManager",
        "configurations": {"3d_fullres": configuration},
        "continue_training": False,
    }
    plans = with_res_unet_ds(stock, "3d_fullres", patch_size=(patch,) * 3, batch_size=batch_size).plans
    return plans, read_json(preprocessed / "dataset.json")


def make_trainers(plans: dict[str, Any], dataset_json: dict[str, Any], *, compiled: bool) -> dict[str, Any]:
    """Return a trainer ready to step for each form, all with the same weights."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer  # noqa: PLC0415 (reads the folders' names)

    from nnunet_resunet_ds.trainer import ResUNetDSTrainer  # noqa: PLC0415

    class Stock(ResUNetDSTrainer):
        """Our network and loss under nnU-Net's own step, optimiser and memory layout."""

        configure_optimizers = nnUNetTrainer.configure_optimizers
        train_step = nnUNetTrainer.train_step

    kinds = {"nnU-Net's step, fp32": (Stock, False), "ours": (ResUNetDSTrainer, False)}
    if compiled:
        kinds["ours, torch.compile"] = (ResUNetDSTrainer, True)
    trainers = {}
    for name, (kind, compile_it) in kinds.items():
        trainer = kind(dict(plans), "3d_fullres", 0, dataset_json, CPU)
        torch.manual_seed(0)
        manager = trainer.configuration_manager
        network = trainer.build_network_architecture(trainer.plans_manager, manager, 4, 3, enable_deep_supervision=True)
        trainer.network = torch.compile(network) if compile_it else network
        trainer.optimizer, _ = trainer.configure_optimizers()
        trainer.loss = trainer._build_loss()
        trainers[name] = trainer
    return trainers


def seconds_of_step(trainer: Any, batch: dict[str, Any]) -> float:  # noqa: ANN401 (a class made above)
    """Run one training step."""
    start = time.perf_counter()
    trainer.train_step(batch)
    return time.perf_counter() - start


def main() -> None:
    """Make the trainers, step in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patch", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plans, dataset_json = made_up_dataset(Path(folder), options.patch, options.batch_size)
        trainers = make_trainers(plans, dataset_json, compiled=not options.no_compile)
        size = [options.patch] * 3
        targets = [torch.rand(options.batch_size, 3, *[axis // 2**head for axis in size]) > 0.8 for head in range(3)]
        batch = {"data": torch.randn(options.batch_size, 4, *size), "target": targets}
        first = {name: seconds_of_step(trainer, batch) for name, trainer in trainers.items()}
        seconds: dict[str, list[float]] = {name: [] for name in trainers}
        for _ in range(options.rounds):
            for name, trainer in trainers.items():
                seconds[name].append(seconds_of_step(trainer, batch))
    stock = next(iter(seconds.values()))
    fp32, bf16 = (convolution_seconds(dtype) for dtype in (torch.float32, torch.bfloat16))
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; a convolution: {fp32 * 1e3:.0f} ms in fp32, "
        f"{bf16 * 1e3:.0f} ms in bf16, so ours runs in {'bf16' if bf16_is_faster() else 'fp32'}"
    )
    print(f"{'form':22}  {'first step s':>12}  {'median s':>8}  stock / form: median, least, most")
    for name, runs in seconds.items():
        ratios = [a / b for a, b in zip(stock, runs, strict=True)]
        print(
            f"{name:22}  {first[name]:12.1f}  {statistics.median(runs):8.2f}  "
            f"{statistics.median(ratios):.2f}, {min(ratios):.2f}, {max(ratios):.2f}"
        )


if __name__ == "__main__":
    main()
