"""What is done to data: loading for training, conversion, post-processing, evaluation."""

import os
import shutil
from pathlib import Path
from unittest.mock import patch

import numpy as np
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dataset_conversion import convert
from dataset_conversion.editions import CHANNEL_NAMES, FILE_ENDING, SEGMENTATION
from dataset_conversion.labels import NNUNET_CONVENTION
from nnunet_resunet_ds.base.images import read_labels
from nnunet_resunet_ds.base.regions import REGIONS
from nnunet_resunet_ds.demo.phantom_cohort import EDITION
from nnunet_resunet_ds.evaluation.case_metrics import evaluate_labels
from nnunet_resunet_ds.evaluation.dice import BRATS
from nnunet_resunet_ds.evaluation.label_maps import to_protocol
from nnunet_resunet_ds.evaluation.protocols import DEFAULT, protocol_named
from nnunet_resunet_ds.experiments.benchmark.material import Material
from nnunet_resunet_ds.experiments.benchmark.training_task import initialized
from nnunet_resunet_ds.experiments.benchmark.turns import NNUNET, OURS, Form, Task
from nnunet_resunet_ds.trainer import ResUNetDSTrainer
from postprocessing import PostprocessingConfig, postprocess

N_BATCHES = 3


def loading_task(material: Material) -> Task:
    """Return loading and augmenting batches in one process: nnU-Net's own code, which ours uses as it is."""
    trainer = initialized(material, ResUNetDSTrainer)
    with patch.dict(os.environ, {"nnUNet_n_proc_DA": "0"}):  # a queue that other processes fill would hide the time
        loader, _ = trainer.get_dataloaders()
    forms = [Form(NNUNET, lambda: [next(loader) for _ in range(N_BATCHES)])]
    return Task("loading and augmentation", "batch", forms, N_BATCHES, note="in one process; ours is nnU-Net's")


def conversion_task(material: Material) -> Task:
    """Return converting the cohort, with nnU-Net's own BraTS 2021 functions and with ours."""
    n_cases = len(material.cases)
    forms = [Form(NNUNET, lambda: _nnunet_conversion(material)), Form(OURS, lambda: _our_conversion(material))]
    return Task("conversion", "case", forms, n_cases, note="ours checks every file, nnU-Net's none")


def _nnunet_conversion(material: Material) -> None:
    """Do what the main block of nnU-Net's script does, with its own function for the labels."""
    from nnunetv2.dataset_conversion.Dataset137_BraTS21 import (  # noqa: PLC0415
        copy_BraTS_segmentation_and_convert_labels_to_nnUNet as convert_labels,
    )

    target = material.folder / "nnUNet_raw" / "Dataset002_Stock"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for case in material.cases:
        source = material.raw_cases / case
        for number, channel in enumerate(CHANNEL_NAMES):
            shutil.copy(source / EDITION.file_name(case, channel), target / f"{case}_{number:04d}{FILE_ENDING}")
        convert_labels(str(source / EDITION.file_name(case, SEGMENTATION)), str(target / f"{case}{FILE_ENDING}"))


def _our_conversion(material: Material) -> None:
    shutil.rmtree(material.folder / "nnUNet_raw" / "Dataset003_Ours", ignore_errors=True)
    convert([material.raw_cases], 3, "Ours")


def postprocessing_task(material: Material) -> Task:
    """Return thresholds and rules of the paper on made-up probabilities, beside nnU-Net's thresholds alone."""
    probabilities = _uncertain(_labels(material))
    manager = PlansManager(material.plans).get_label_manager(material.dataset_json)
    config = PostprocessingConfig.paper()
    forms = [
        Form(NNUNET, lambda: manager.convert_probabilities_to_segmentation(probabilities)),
        Form(OURS, lambda: postprocess(probabilities, config)),
    ]
    return Task("post-processing", "case", forms, note="nnU-Net's has thresholds and no rules")


def evaluation_task(material: Material) -> Task:
    """Return all metrics of a case, lesion-wise ones included; nnU-Net and MONAI have no lesion-wise evaluation."""
    protocol = protocol_named(DEFAULT)
    reference = _labels(material)
    moved = postprocess(_uncertain(np.roll(reference, 2, axis=0)), PostprocessingConfig.preset("none"))
    first, second = (to_protocol(values, NNUNET_CONVENTION, protocol, Path("made up")) for values in (reference, moved))
    forms = [Form(OURS, lambda: evaluate_labels(first, second, (1.0, 1.0, 1.0), protocol, BRATS))]
    return Task("evaluation", "case", forms, note=protocol.title)


def _labels(material: Material) -> NDArray[np.uint8]:
    return read_labels(material.labels_of(material.case))[1].astype(np.uint8)


def _uncertain(labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return probabilities (R, Z, Y, X) about a label map: blurred, with noise that makes small components."""
    random = np.random.default_rng(0)
    noise = gaussian_filter(random.standard_normal(labels.shape), 1.5)
    blurred = np.stack([gaussian_filter(region.mask(labels).astype(np.float32), 1.0) for region in REGIONS])
    uncertain: NDArray[np.float32] = np.clip(
        blurred + 0.5 * noise / noise.std() * (blurred > 0), 0, 1, dtype=np.float32
    )
    return uncertain
