"""Make the tasks on data: loading for training, conversion, post-processing, evaluation, tuning."""

import os
import shutil
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dataset_conversion import convert
from dataset_conversion.editions import CHANNEL_NAMES, SEGMENTATION
from dataset_conversion.label_conventions import NNUNET_CONVENTION
from dataset_conversion.write import LinkMode
from nnunet_resunet_ds.base.files import FILE_ENDING, link_or_copy
from nnunet_resunet_ds.base.images import read_labels
from nnunet_resunet_ds.base.regions import REGIONS
from nnunet_resunet_ds.demo.phantom import EDITION
from nnunet_resunet_ds.evaluation.case_metrics import evaluate_labels
from nnunet_resunet_ds.evaluation.dice import BRATS
from nnunet_resunet_ds.evaluation.label_maps import to_protocol
from nnunet_resunet_ds.evaluation.protocols import DEFAULT, protocol_named
from nnunet_resunet_ds.experiments.benchmark.benchmark_data import BenchmarkData
from nnunet_resunet_ds.experiments.benchmark.network_tasks import initialized_trainer
from nnunet_resunet_ds.experiments.benchmark.timing import OURS, STOCK, Form, Task
from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from nnunet_resunet_ds.tuning.held_out import tune
from nnunet_resunet_ds.tuning.metrics import DICE
from nnunet_resunet_ds.tuning.scores import Scores
from nnunet_resunet_ds.tuning.stored_case import cropped_case, write_stored_case
from postprocessing import PostprocessingConfig, postprocess

N_BATCHES = 3


def loading_task(data: BenchmarkData) -> Task:
    """Return the task of loading and augmenting batches in one process; ours differs where the device augments."""
    trainer = initialized_trainer(data, ResUNetDSTrainer)
    with patch.dict(os.environ, {"nnUNet_n_proc_DA": "0"}):  # a queue that other processes fill would hide the time
        stock, _ = nnUNetTrainer.get_dataloaders(trainer)
        ours, _ = trainer.get_dataloaders()
    forms = [Form(STOCK, lambda: [next(stock) for _ in range(N_BATCHES)])]
    note = "in one process; ours is nnU-Net's"
    if trainer.augmentation is not None:
        forms.append(Form(OURS, lambda: [trainer.prepared(next(ours)) for _ in range(N_BATCHES)]))
        note = f"in one process; ours loads there and augments on {data.device}"
    return Task("loading and augmentation", "batch", forms, N_BATCHES, note=note)


def conversion_task(data: BenchmarkData) -> Task:
    """Return the task of converting a cohort, with the functions of nnU-Net's own BraTS 2021 script and with ours.

    nnU-Net's way copies the images and translates the labels, one case after the other, and checks the label values.
    """
    cohort = _conversion_cohort(data)
    forms = [
        Form(STOCK, partial(_stock_conversion, data, cohort)),
        Form(OURS, partial(_our_conversion, data, cohort)),
        Form(f"{OURS} --no-validate", partial(_our_conversion, data, cohort, validate=False)),
        Form(f"{OURS} --no-validate --copy", partial(_our_conversion, data, cohort, validate=False, link_mode="copy")),
    ]
    return Task("conversion", "case", forms, data.size.n_converted, note="ours checks every file, nnU-Net's none")


def _conversion_cohort(data: BenchmarkData) -> Path:
    """Return a folder of as many cases as are converted: the made ones under many names."""
    cohort = data.folder / "conversion_cohort"
    for number in range(data.size.n_converted):
        source = data.raw_cases / data.cases[number % len(data.cases)]
        case = cohort / f"BraTS2021_{number:05d}"
        case.mkdir(parents=True, exist_ok=True)
        for role in (*CHANNEL_NAMES, SEGMENTATION):
            link_or_copy(source / EDITION.file_name(source.name, role), case / EDITION.file_name(case.name, role))
    return cohort


def _stock_conversion(data: BenchmarkData, cohort: Path) -> None:
    """Do what the main block of nnU-Net's script does, with its own function for the labels."""
    from nnunetv2.dataset_conversion.Dataset137_BraTS21 import (  # noqa: PLC0415
        copy_BraTS_segmentation_and_convert_labels_to_nnUNet as convert_labels,
    )

    target = data.folder / "nnUNet_raw" / "Dataset002_Stock"
    shutil.rmtree(target, ignore_errors=True)
    images, labels = target / "imagesTr", target / "labelsTr"
    for folder in (images, labels):
        folder.mkdir(parents=True)
    for case in sorted(cohort.iterdir()):
        for number, channel in enumerate(CHANNEL_NAMES):
            shutil.copy(case / EDITION.file_name(case.name, channel), images / f"{case.name}_{number:04d}{FILE_ENDING}")
        convert_labels(
            str(case / EDITION.file_name(case.name, SEGMENTATION)), str(labels / f"{case.name}{FILE_ENDING}")
        )


def _our_conversion(
    data: BenchmarkData, cohort: Path, *, validate: bool = True, link_mode: LinkMode = "hardlink"
) -> None:
    """Convert as ``resunet-ds convert`` does."""
    shutil.rmtree(data.folder / "nnUNet_raw" / "Dataset003_Ours", ignore_errors=True)
    convert([cohort], 3, "Ours", validate=validate, link_mode=link_mode)


def postprocessing_task(data: BenchmarkData) -> Task:
    """Return the task of the paper's thresholds and rules on made-up probabilities; nnU-Net has thresholds alone."""
    probabilities = _uncertain(_labels(data, data.case))
    manager = PlansManager(data.plans).get_label_manager(data.dataset_json)
    config = PostprocessingConfig.paper()
    forms = [
        Form(STOCK, lambda: manager.convert_probabilities_to_segmentation(probabilities)),
        Form(OURS, lambda: postprocess(probabilities, config)),
    ]
    return Task("post-processing", "case", forms, note="nnU-Net's has thresholds and no rules")


def evaluation_task(data: BenchmarkData) -> Task:
    """Return the task of all metrics of a case; nnU-Net and MONAI have no lesion-wise evaluation."""
    protocol = protocol_named(DEFAULT)
    reference = _labels(data, data.case)
    moved = postprocess(_uncertain(np.roll(reference, 2, axis=0)), PostprocessingConfig.preset("none"))
    first, second = (to_protocol(values, NNUNET_CONVENTION, protocol, Path("made up")) for values in (reference, moved))
    forms = [Form(OURS, lambda: evaluate_labels(first, second, (1.0, 1.0, 1.0), protocol, BRATS))]
    return Task("evaluation", "case", forms, note=protocol.title)


def tuning_task(data: BenchmarkData) -> Task:
    """Return the task of a search over the post-processing on stored cases; nnU-Net and MONAI have none."""
    files = [data.folder / f"stored_{case}.npz" for case in data.cases]
    for case, file in zip(data.cases, files, strict=True):
        reference = _labels(data, case)
        write_stored_case(cropped_case(_uncertain(reference), reference, spacing=(1.0, 1.0, 1.0)), file)
    forms = [Form(OURS, lambda: tune(Scores(files, DICE), data.cases, "probabilities"))]
    return Task("tuning", "case", forms, len(files), note="a search for the best mean Dice, each case a part")


def _labels(data: BenchmarkData, case: str) -> NDArray[np.uint8]:
    """Return the label map (Z, Y, X) of a case."""
    return read_labels(data.labels_of(case))[1].astype(np.uint8)


def _uncertain(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return probabilities (R, Z, Y, X) about a label map: blurred, with noise that makes small components."""
    random = np.random.default_rng(0)
    noise = gaussian_filter(random.standard_normal(labels.shape), 1.5)
    blurred = np.stack([gaussian_filter(region.mask(labels).astype(np.float32), 1.0) for region in REGIONS])
    uncertain: NDArray[np.float32] = np.clip(
        blurred + 0.5 * noise / noise.std() * (blurred > 0), 0, 1, dtype=np.float32
    )
    return uncertain
